import { kitErrors } from '@escala/kit/errors/errors'
import { type Route, route } from '@escala/kit/http/route'
import type { Logger } from '@escala/kit/log/log'
import type { DeviceCookies } from '@escala/kit/sessions/device'
import { endSession, logIn, logOut, undoLogIn } from '@escala/kit/sessions/log-in'
import { z } from 'zod'
import { findAccount, findByEmail, renewPasswordHash } from '../accounts.ts'
import { judge } from '../log-in-limits.ts'
import { isStillThePassword } from '../passwords.ts'
import { account, email, type UserDeps } from './users.ts'

export interface SessionDeps extends UserDeps {
  devices: DeviceCookies
}

/** Where the cookie of a known device goes: it is of use for log-ins only. */
export const logInPath = '/v1/session'

const credentials = z.strictObject({ email, password: z.string().min(1).max(200) })
const loggedIn = z.strictObject({ user: account })

export function sessionRoutes({ postgres, passwords, limits, devices }: SessionDeps): Route[] {
  /** The password is at hand at a log-in only. A failure fails no log-in: the next one tries again. */
  const renewHash = async (id: string, old: string, hash: () => Promise<string>, log: Logger) => {
    if (!passwords.isOutdated(old)) return
    try {
      await renewPasswordHash(postgres, id, old, await hash())
    } catch (err) {
      log.warn({ err }, 'password hash not renewed')
    }
  }
  return [
    route({
      method: 'post',
      path: logInPath,
      summary: 'Log in: sets the session cookie, by default `sid`',
      access: 'public',
      body: credentials,
      responses: { 200: { description: 'Who is logged in now', schema: loggedIn } },
      errors: ['E_BAD_CREDENTIALS', 'E_RATE_LIMITED', 'E_OVERLOADED'],
      async handle({ body, req, res, signal, log }) {
        const attempt = await limits.beginLogIn(req, res, body.email)
        const found = await judge(attempt, log, async () => {
          const found = await findByEmail(postgres, body.email)
          const isRight = await passwords.verify(body.password, found?.passwordHash, signal, attempt.client)
          if (found === undefined || !isRight) throw kitErrors.E_BAD_CREDENTIALS()
          return found
        })
        const remembered = attempt.succeeded().catch((err) => log.warn({ err }, 'address of a log-in not remembered'))
        await Promise.all([logIn(req, found.id), remembered])
        try {
          if (!(await isStillThePassword(postgres, found.id, found.passwordVersion)))
            throw kitErrors.E_BAD_CREDENTIALS()
        } catch (error) {
          await undoLogIn(req)
          throw error
        }
        devices.remember(req, res, attempt.account)
        const hash = () => passwords.hash(body.password, signal, attempt.client)
        await renewHash(found.id, found.passwordHash, hash, log)
        return { status: 200, body: { user: { id: found.id, email: found.email, name: found.name } } }
      },
    }),
    route({
      method: 'get',
      path: logInPath,
      summary: 'Who is logged in',
      access: 'user',
      responses: { 200: { description: 'The user', schema: loggedIn } },
      async handle({ user, req }) {
        const found = await findAccount(postgres, user.id)
        if (found === undefined) throw await endSession(req)
        return { status: 200, body: { user: found } }
      },
    }),
    route({
      method: 'delete',
      path: logInPath,
      summary: "Log out: ends this session, not the user's others",
      access: 'public',
      essential: true,
      responses: { 204: { description: 'Logged out' } },
      async handle({ req }) {
        await logOut(req)
        return { status: 204 }
      },
    }),
  ]
}
