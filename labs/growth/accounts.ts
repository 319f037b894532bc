import {
  addAccount,
  findAccount,
  findByEmail,
  findWithHash,
  hasRole,
  renewPasswordHash,
} from '@escala/accounts/accounts'
import { checkCode, cleanCodes, createCode, redeemVerification } from '@escala/accounts/codes'
import { changePassword, isStillThePassword, resetPassword } from '@escala/accounts/passwords'
import type { Postgres } from '@escala/kit/postgres/postgres'
import type { UserSessions } from '@escala/kit/sessions/user-sessions'
import { requireUser, requireVerifiedEmail } from '@escala/tickets/users'
import type { Request } from 'express'

/** What the product asks about users, and does with their accounts. */
export async function useAccounts(postgres: Postgres, userId: string): Promise<void> {
  await addAccount(postgres, { email: 'new@example.com', name: 'New', passwordHash: 'x' })
  await findAccount(postgres, userId)
  await findByEmail(postgres, 'user777@example.com')
  await findWithHash(postgres, userId)
  const req = { session: { userId } } as unknown as Request
  await hasRole(postgres)(userId, 'organiser', req)
  await requireUser(postgres, req)
  await renewPasswordHash(postgres, userId, 'x', 'y')
  await isStillThePassword(postgres, userId, 0)
  const sessions = { endAll: async () => undefined } as unknown as UserSessions
  await changePassword(postgres, sessions, { userId, version: 0, to: 'z', keepSession: 's' })
  const verification = (await createCode(postgres, userId, 'email-verification'))?.secret ?? ''
  await redeemVerification(postgres, verification)
  await requireVerifiedEmail(postgres, userId)
  const reset = (await createCode(postgres, userId, 'password-reset'))?.secret ?? ''
  await checkCode(postgres, reset, 'password-reset')
  await resetPassword(postgres, sessions, reset, 'w')
  await cleanCodes(postgres)
}
