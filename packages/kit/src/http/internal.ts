import express, { type Express } from 'express'
import type { Lifecycle } from '../lifecycle/lifecycle.ts'

export interface InternalOptions {
  lifecycle: Lifecycle
  /** What works, but less well than it should: shown by `/readyz`, never a reason to be unready. */
  degraded?(): string[]
  metrics?(): Promise<string>
  scale?(): Promise<unknown>
}

/** The port for operators and orchestrators, never for clients: alive, ready, metrics, and who else is there. */
export function createInternalApp({ lifecycle, degraded, metrics, scale }: InternalOptions): Express {
  const app = express()
  app.set('env', 'production') // no stacks in responses
  app.disable('x-powered-by')
  app.get('/livez', (_req, res) => void res.json({ live: true }))
  app.get('/readyz', (_req, res) => {
    const readiness = lifecycle.readiness()
    res.status(readiness.ready ? 200 : 503).json({ ...readiness, degraded: degraded?.() ?? [] })
  })
  if (metrics)
    app.get('/metrics', async (_req, res) => void res.type('text/plain; version=0.0.4').send(await metrics()))
  if (scale) app.get('/scale', async (_req, res) => void res.json(await scale()))
  return app
}
