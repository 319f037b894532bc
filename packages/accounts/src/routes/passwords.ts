import { type Route, route } from '@escala/kit/http/route'
import type { ApiParts } from '@escala/kit/module'
import { z } from 'zod'
import { checkCode } from '../codes.ts'
import type { LogInLimits } from '../log-in-limits.ts'
import type { MailLimits } from '../mail-limits.ts'
import { requestReset } from '../messages.ts'
import { newPassword, refuseOwnWords } from '../new-password.ts'
import { changePassword, resetPassword } from '../passwords.ts'
import type { CheckPassword } from './check-password.ts'
import { email } from './users.ts'

export interface PasswordDeps extends Pick<ApiParts, 'postgres' | 'outbox' | 'passwords' | 'userSessions'> {
  limits: LogInLimits
  mailLimits: MailLimits
  checkPassword: CheckPassword
}

export const code = z.string().min(1).max(200)

export function passwordRoutes(deps: PasswordDeps): Route[] {
  const { postgres, outbox, passwords, userSessions, limits, mailLimits, checkPassword } = deps
  return [
    route({
      method: 'put',
      path: '/v1/password',
      summary: "Change the password: ends the user's other sessions",
      access: 'user',
      body: z.strictObject({ current: z.string().min(1).max(200), password: newPassword }),
      responses: { 204: { description: 'The new password is in force' } },
      errors: ['E_BAD_CREDENTIALS', 'E_RATE_LIMITED', 'E_OVERLOADED'],
      async handle(context) {
        const { body, user, req, signal } = context
        const { version, client, email } = await checkPassword(context, body.current)
        refuseOwnWords(body.password, { email })
        const to = await passwords.hash(body.password, signal, client)
        await changePassword(postgres, userSessions, {
          userId: user.id,
          version,
          to,
          keepSession: req.sessionID,
        })
        return { status: 204 }
      },
    }),
    route({
      method: 'post',
      path: '/v1/password-resets',
      summary: 'Ask for a mail with a token for a new password; the response does not say whether the address is known',
      access: 'public',
      ignoresSession: true,
      body: z.strictObject({ email }),
      responses: { 202: { description: 'A mail is on its way if there is such an account' } },
      errors: ['E_RATE_LIMITED'],
      async handle({ body, req, res, requestId, traceparent }) {
        await limits.checkSignUp(req, res) // first: a refused address uses up none of the account's mails
        await mailLimits.checkReset(req, res, body.email)
        await requestReset(postgres, outbox, body.email, { requestId, traceparent })
        return { status: 202 }
      },
    }),
    route({
      method: 'put',
      path: '/v1/password-resets',
      summary: "Set a new password with a token from a mail: ends the user's sessions, and revokes the user's tokens",
      access: 'public',
      ignoresSession: true,
      body: z.strictObject({ token: code, password: newPassword }),
      responses: { 204: { description: 'The new password is in force' } },
      errors: ['E_TOKEN_INVALID', 'E_RATE_LIMITED', 'E_OVERLOADED'],
      async handle({ body, req, res, signal }) {
        const client = await limits.checkSignUp(req, res)
        refuseOwnWords(body.password, await checkCode(postgres, body.token, 'password-reset')) // before the costly hash
        const hash = await passwords.hash(body.password, signal, client)
        await resetPassword(postgres, userSessions, body.token, hash)
        return { status: 204 }
      },
    }),
  ]
}
