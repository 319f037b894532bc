import type { Parts } from '../../apps/api/src/parts.ts'

/** `/slow` takes 100 ms, as a route does that asks another service: at any time some are in flight. Both halves have it. */
export const apiParts: Partial<Parts> = {
  listener:
    (app, { config }) =>
    (req, res) => {
      if (req.url !== '/slow') return app(req, res)
      res.setHeader('X-Replica-Id', config.REPLICA_ID)
      setTimeout(() => res.end('done'), 100)
    },
}
