import type { RequestListener } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'
import { createSessionMiddleware } from '@escala/kit/sessions/middleware'
import { saveSession } from '@escala/kit/sessions/request-session'
import type { SessionStore } from '@escala/kit/sessions/sessions'
import express from 'express'

/** `POST /v1/visits`: a route that takes its time and then writes to the session, as many do. Both halves have it. */
export function withSlowRoute(app: RequestListener, sessions: SessionStore, secrets: string[]): RequestListener {
  const slow = express()
  slow.post('/v1/visits', createSessionMiddleware({ sessions, secrets }), async (req, res) => {
    await wait(150)
    Object.assign(req.session, { lastVisit: Date.now() })
    await saveSession(req)
    res.sendStatus(204)
  })
  return (req, res) => (req.url === '/v1/visits' ? slow(req, res) : app(req, res))
}
