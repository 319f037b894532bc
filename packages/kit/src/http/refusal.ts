import { randomUUID } from 'node:crypto'
import type { RequestListener } from 'node:http'
import { kitErrors } from '../errors/errors.ts'
import type { Logger } from '../log/log.ts'
import type { Cors } from './cors.ts'
import { personal, problemOf } from './problem.ts'

/** Answers every request of a replica that may not serve with `E_NO_REPLICA`: nothing has happened, and another one may take it. */
export function createRefusal(log: Logger, baseUrl?: string, cors?: Pick<Cors, 'setHeaders'>): RequestListener {
  return (req, res) => {
    cors?.setHeaders(res, req.headers.origin)
    const refusal = kitErrors.E_NO_REPLICA({ retryAfterMs: 1000 })
    const requestId = randomUUID()
    log.info({ requestId, code: refusal.code, reason: 'this process has no place' }, 'request refused')
    res.writeHead(refusal.kind.status, {
      'Content-Type': 'application/problem+json',
      'Retry-After': '1',
      'X-Request-Id': requestId,
      'X-Content-Type-Options': 'nosniff',
      'Cache-Control': personal,
    })
    res.end(JSON.stringify(problemOf(refusal, requestId, baseUrl)))
  }
}
