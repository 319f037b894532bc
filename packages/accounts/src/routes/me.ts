import { type Route, route } from '@escala/kit/http/route'
import type { ApiParts } from '@escala/kit/module'
import { createRateLimit } from '@escala/kit/rate-limits/middleware'
import type { DeviceCookies } from '@escala/kit/sessions/device'
import { endSession, logOut } from '@escala/kit/sessions/log-in'
import { isStillLoggedIn } from '@escala/kit/sessions/request-session'
import { z } from 'zod'
import { deleteAccount } from '../deletion.ts'
import { exportAccount, exported } from '../export.ts'
import type { LogInLimits } from '../log-in-limits.ts'
import type { ConfirmUser } from './check-password.ts'

/** Exports of one user in an hour: each reads all that is stored. */
const exportsPerHour = 10

interface Deps
  extends Pick<
    ApiParts,
    'postgres' | 'outbox' | 'idempotency' | 'personalData' | 'userSessions' | 'sessionState' | 'log'
  > {
  stores: ApiParts['limits']['stores']
  limits: LogInLimits
  devices: DeviceCookies
  confirmUser: ConfirmUser
}

/** What is stored about the user who asks, and its end. */
export function meRoutes({ stores, devices, confirmUser, ...deps }: Deps): Route[] {
  const policy = { name: 'account-exports', limit: exportsPerHour, windowMs: 3_600_000 }
  const exports = createRateLimit({ policy, stores, key: () => '', log: deps.log, onStoreError: 'refuse' })
  const refusals = Object.values(deps.personalData).flatMap(({ errors = [] }) => errors)
  return [
    route({
      method: 'get',
      path: '/v1/me/export',
      summary: 'Everything that is stored about the user; `modules` has what each module stores, in its own form',
      access: 'user',
      responses: { 200: { description: "The user's data", schema: exported } },
      errors: ['E_RATE_LIMITED'],
      async handle({ user, req, res }) {
        await exports.check(req, res, user.id)
        const body = await exportAccount(deps, user.id)
        if (body === undefined) throw await endSession(req)
        return { status: 200, body, headers: { 'Content-Disposition': 'attachment; filename="export.json"' } }
      },
    }),
    route({
      method: 'delete',
      path: '/v1/me',
      summary:
        'Delete the account for good; needs `password`, or a log-in within the last ten minutes. A mail confirms it',
      access: 'user',
      body: z.strictObject({ password: z.string().min(1).max(200).optional() }),
      responses: { 204: { description: 'The account, its sessions, its tokens and its personal data are deleted' } },
      errors: ['E_PASSWORD_REQUIRED', 'E_BAD_CREDENTIALS', 'E_RATE_LIMITED', 'E_OVERLOADED', ...new Set(refusals)],
      async handle(context) {
        const { user, body, req, res, requestId, traceparent, log } = context
        await confirmUser(context, body.password)
        const cause = { requestId, traceparent }
        const deletion = { userId: user.id, isStillLoggedIn: () => isStillLoggedIn(req), ...cause }
        if ((await deleteAccount(deps, deletion)) === 'logged-out') throw await endSession(req)
        devices.clear(req, res)
        // It is done: a session that is left ends at its next request, since it has no user.
        await logOut(req).catch((err) => log.warn({ err }, 'cookies of a deleted user were not cleared'))
        return { status: 204 }
      },
    }),
  ]
}
