import type { IncomingMessage } from 'node:http'
import { Counter, Registry } from 'prom-client'
import type { Parts } from '../../apps/api/src/parts.ts'

export const path = '/v1/metrics'

/** As every tutorial has it: one counter, and a route of the API that exports it. */
export const apiParts: Partial<Parts> = {
  listener(app) {
    const registry = new Registry()
    const requests = new Counter({ name: 'http_requests_total', help: 'Requests.', registers: [registry] })
    return async (req: IncomingMessage, res) => {
      if (req.url === path) return void res.end(await registry.metrics())
      requests.inc()
      app(req, res)
    }
  },
}
