import { kitErrors } from '@escala/kit/errors/errors'
import { type Route, route } from '@escala/kit/http/route'
import type { ApiParts } from '@escala/kit/module'
import { logOut } from '@escala/kit/sessions/log-in'
import { handleOf, type UserSession } from '@escala/kit/sessions/user-sessions'
import type { Request } from 'express'
import { z } from 'zod'

const session = z.strictObject({
  id: z.uuid(),
  createdAt: z.iso.datetime(),
  lastSeenAt: z.iso.datetime(),
  userAgent: z.string(),
  current: z.boolean(),
})

/** A user's own sessions. One that was ended is refused on every replica from its next request on. */
export function sessionListRoutes({ userSessions }: Pick<ApiParts, 'userSessions'>): Route[] {
  const isCurrent = (req: Request, id: string) => id === handleOf(req.sessionID)
  const toBody = (req: Request, { id, createdAt, lastSeenAt, userAgent }: UserSession) => ({
    id: handleOf(id),
    createdAt: new Date(createdAt).toISOString(),
    lastSeenAt: new Date(lastSeenAt).toISOString(),
    userAgent,
    current: id === req.sessionID,
  })
  return [
    route({
      method: 'get',
      path: '/v1/sessions',
      summary: "The user's sessions, the newest first; `lastSeenAt` is up to a tenth of the idle time too early",
      access: 'user',
      responses: { 200: { description: 'Every session', schema: z.strictObject({ items: z.array(session) }) } },
      async handle({ user, req }) {
        const sessions = await userSessions.list(user.id)
        sessions.sort((a, b) => b.createdAt - a.createdAt)
        return { status: 200, body: { items: sessions.map((found) => toBody(req, found)) } }
      },
    }),
    route({
      method: 'delete',
      path: '/v1/sessions/:id',
      summary: "End one of the user's sessions",
      access: 'user',
      essential: true,
      params: z.strictObject({ id: z.uuid() }),
      responses: { 204: { description: 'The session has ended' } },
      errors: ['E_NOT_FOUND'],
      async handle({ params, user, req }) {
        if ((await userSessions.end(user.id, params.id)) === undefined) throw kitErrors.E_NOT_FOUND()
        if (isCurrent(req, params.id)) await logOut(req)
        return { status: 204 }
      },
    }),
    route({
      method: 'delete',
      path: '/v1/sessions',
      summary: "End all of the user's sessions, this one too",
      access: 'user',
      essential: true,
      responses: { 204: { description: 'No session is left' } },
      async handle({ user, req }) {
        await userSessions.endAll(user.id, req.sessionID)
        await logOut(req) // last: when the others could not be ended, the user can try again
        return { status: 204 }
      },
    }),
  ]
}
