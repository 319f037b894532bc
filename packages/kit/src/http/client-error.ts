import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import { type AppError, hasCode } from '../errors/app-error.ts'
import { kitErrors } from '../errors/errors.ts'
import type { OnLargeHead } from '../lifecycle/bounded-response.ts'
import type { Logger } from '../log/log.ts'
import { problemOf } from './problem.ts'

/** Answers what Node's parser refuses, before there is a request that Express could see: a problem like every other. */
export function createClientErrorAnswer(log: Logger, baseUrl?: string): (error: Error, socket: Socket) => void {
  return (error, socket) => {
    if (hasCode(error, 'ECONNRESET')) return void socket.destroy() // no client is left to read it
    const refusal = toAppError(error)
    const requestId = randomUUID()
    log.info({ requestId, code: refusal.code, reason: error.message }, 'request refused')
    const body = JSON.stringify(problemOf(refusal, requestId, baseUrl))
    const head = [
      `HTTP/1.1 ${refusal.kind.status} ${refusal.code}`,
      'Content-Type: application/problem+json',
      `Content-Length: ${Buffer.byteLength(body)}`,
      `X-Request-Id: ${requestId}`,
      'X-Content-Type-Options: nosniff',
      'Cache-Control: private, no-store',
      'Connection: close',
    ]
    socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
  }
}

/** Reports a response whose head is too large as the bug that it is. Sizes only: the head may hold cookies. */
export function createLargeHeadAnswer(log: Logger, baseUrl?: string): OnLargeHead {
  return (req, res, bytes) => {
    const requestId = String(res.getHeader('X-Request-Id') ?? randomUUID())
    const headers = Object.entries(res.getHeaders()).map(([name, value]) => ({ name, bytes: String(value).length }))
    const path = req.url?.split('?', 1)[0]?.slice(0, 500)
    log.error({ requestId, bytes, headers, path }, 'response head too large')
    return JSON.stringify(problemOf(kitErrors.E_INTERNAL(), requestId, baseUrl))
  }
}

function toAppError(error: Error): AppError {
  if (hasCode(error, 'HPE_HEADER_OVERFLOW')) return kitErrors.E_HEADERS_TOO_LARGE()
  if (hasCode(error, 'ERR_HTTP_REQUEST_TIMEOUT')) return kitErrors.E_REQUEST_TIMEOUT()
  if (hasCode(error, 'HPE_INVALID_METHOD')) return kitErrors.E_METHOD_NOT_ALLOWED()
  return kitErrors.E_MALFORMED_REQUEST()
}
