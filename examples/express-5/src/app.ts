import { notFound, problemHandler } from '@escala/kit/http/problem'
import { requestContext } from '@escala/kit/http/request-context'
import { createHttpServer } from '@escala/kit/lifecycle/http-server'
import { createLog } from '@escala/kit/log/log'
import { createOverload } from '@escala/kit/overload/overload'
import { addressKey, createRateLimit } from '@escala/kit/rate-limits/middleware'
import type { RateLimitStores } from '@escala/kit/rate-limits/rate-limits'
import { logIn, logOut } from '@escala/kit/sessions/log-in'
import { createSessionMiddleware } from '@escala/kit/sessions/middleware'
import type { SessionStore } from '@escala/kit/sessions/sessions'
import express from 'express'

/** The application, and the process around it: where it keeps its state is an argument. */
export async function startApp(sessions: SessionStore, stores: RateLimitStores): Promise<void> {
  const { HOST: host = '127.0.0.1', PORT = '3000', SESSION_SECRET = 'only for this example' } = process.env
  const log = createLog({ service: 'express-5', replicaId: PORT, version: '1' })
  const overload = createOverload({ maxInFlight: 100, maxDelayMs: 200, essential: (_, path) => path === '/health' })
  const policy = { name: 'requests', limit: 12, windowMs: 60_000 }
  const limit = createRateLimit({ policy, stores, log, key: addressKey, onStoreError: 'local-share', share: () => 3 })

  const app = express()
  app.set('trust proxy', 'loopback')
  app.use(requestContext({ log, replicaId: PORT, exposeReplica: true, deadlineMs: 10_000 }))
  app.get('/health', (_, res) => void res.send('ok'))
  app.use(overload.middleware, createSessionMiddleware({ sessions, secrets: [SESSION_SECRET] }))
  app.post('/log-in/:name', async (req, res) => {
    await logIn(req, req.params.name)
    res.sendStatus(204)
  })
  app.post('/log-out', async (req, res) => {
    await logOut(req)
    res.sendStatus(204)
  })
  app.get('/me', (req, res) => void res.json({ name: req.session.userId ?? null }))
  app.get('/limited', limit.middleware, (_, res) => void res.send('ok'))
  app.get('/slow', (_, res) => void setTimeout(() => res.send('done'), 500))
  app.use(notFound, problemHandler)

  const server = createHttpServer(app, { host, port: Number(PORT) })
  await server.start()
  process.once('SIGTERM', async () => {
    await server.stop({ refuseMs: 200, deadlineMs: 5000 })
    process.exit()
  })
}
