import { createHash } from 'node:crypto'
import { kitErrors } from '@escala/kit/errors/errors.ts'
import { type Route, route } from '@escala/kit/http/route.ts'
import type { Logger } from '@escala/kit/log/log.ts'
import { addressKey, createRateLimit } from '@escala/kit/rate-limits/middleware.ts'
import type { RateLimitStores } from '@escala/kit/rate-limits/rate-limits.ts'
import { logIn, logOut } from '@escala/kit/sessions/log-in.ts'
import { z } from 'zod'
import { findAccount, findByEmail } from '../accounts.ts'
import { account, email, type UserDeps } from './users.ts'

export interface SessionDeps extends UserDeps {
  rateLimits: RateLimitStores
  log: Logger
}

const credentials = z.strictObject({ email, password: z.string().min(1).max(200) })
const loggedIn = z.strictObject({ user: account })

export function sessionRoutes({ postgres, passwords, rateLimits, log }: SessionDeps): Route[] {
  const tries = createRateLimit({
    policy: { name: 'log-in', limit: 5, windowMs: 60_000 },
    stores: rateLimits,
    // One address cannot try many passwords, and a stranger elsewhere cannot lock the owner out.
    key: (req) => digest(`${addressKey(req)} ${String(req.body?.email).toLowerCase()}`),
    log,
    onStoreError: 'refuse',
  })
  return [
    route({
      method: 'post',
      path: '/v1/session',
      summary: 'Log in: sets the cookie `sid`',
      access: 'public',
      body: credentials,
      answers: { 200: { description: 'Who is logged in now', schema: loggedIn } },
      errors: ['E_BAD_CREDENTIALS', 'E_RATE_LIMITED', 'E_OVERLOADED'],
      async handle({ body, req, res }) {
        await tries.check(req, res)
        const found = await findByEmail(postgres, body.email)
        const isRight = await passwords.verify(body.password, found?.passwordHash)
        if (found === undefined || !isRight) throw kitErrors.E_BAD_CREDENTIALS()
        await logIn(req, found.id)
        return { status: 200, body: { user: { id: found.id, email: found.email, name: found.name } } }
      },
    }),
    route({
      method: 'get',
      path: '/v1/session',
      summary: 'Who is logged in',
      access: 'user',
      answers: { 200: { description: 'The user', schema: loggedIn } },
      async handle({ user }) {
        const found = await findAccount(postgres, user.id)
        if (found === undefined) throw kitErrors.E_NOT_LOGGED_IN()
        return { status: 200, body: { user: found } }
      },
    }),
    route({
      method: 'delete',
      path: '/v1/session',
      summary: "Log out: ends this session, not the user's others",
      access: 'public',
      essential: true,
      answers: { 204: { description: 'Nobody is logged in now' } },
      async handle({ req }) {
        await logOut(req)
        return { status: 204 }
      },
    }),
  ]
}

/** Keeps e-mail addresses out of Redis's keys, and the keys short. */
function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64url')
}
