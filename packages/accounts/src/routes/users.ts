import { kitErrors } from '@escala/kit/errors/errors'
import { line } from '@escala/kit/http/fields'
import { type Route, route } from '@escala/kit/http/route'
import type { Passwords } from '@escala/kit/passwords/passwords'
import type { Postgres } from '@escala/kit/postgres/postgres'
import { z } from 'zod'
import { addAccount } from '../accounts.ts'
import type { LogInLimits } from '../log-in-limits.ts'
import { newPassword, refuseOwnWords } from '../new-password.ts'

export const account = z.strictObject({ id: z.uuid(), email: z.string(), name: z.string() })

export const email = z.email().max(254)

const newAccount = z.strictObject({
  email,
  password: newPassword,
  name: line(100),
})

export interface UserDeps {
  postgres: Postgres
  passwords: Passwords
  limits: LogInLimits
}

export function userRoutes({ postgres, passwords, limits }: UserDeps): Route[] {
  return [
    route({
      method: 'post',
      path: '/v1/users',
      summary: 'Sign up',
      access: 'public',
      ignoresSession: true,
      body: newAccount,
      responses: { 201: { description: 'The new user, who is not logged in yet', schema: account } },
      errors: ['E_EMAIL_TAKEN', 'E_RATE_LIMITED', 'E_OVERLOADED'],
      async handle({ body: { password, ...profile }, req, res, signal }) {
        refuseOwnWords(password, profile)
        const client = await limits.checkSignUp(req, res)
        const passwordHash = await passwords.hash(password, signal, client)
        const added = await addAccount(postgres, { ...profile, passwordHash })
        if (added === undefined) throw kitErrors.E_EMAIL_TAKEN()
        return { status: 201, body: added }
      },
    }),
  ]
}
