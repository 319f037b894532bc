import type { ErrorRequestHandler, RequestHandler, Response } from 'express'
import { AppError } from '../errors/app-error.ts'
import { kitErrors } from '../errors/errors.ts'

/** What a client reads when a request fails: RFC 9457, with the code and the id to report. */
export interface Problem {
  type: string
  title: string
  status: number
  code: string
  requestId: string
  detail?: string
  fields?: Record<string, string>
}

export const notFound: RequestHandler = (_req, _res, next) => next(kitErrors.E_NOT_FOUND())

/** Last in line. An error that is nobody's answer is logged whole and told as `E_INTERNAL`. */
export const problemHandler: ErrorRequestHandler = (thrown, req, res, _next) => {
  const error = toAppError(thrown)
  const { code, kind, cause } = error
  if (kind.status === 500) req.log.error({ err: thrown, code }, 'request failed')
  else if (cause !== undefined) req.log.warn({ err: cause, code }, 'request failed') // overload has none: it must not flood the log
  if (res.headersSent) return void res.destroy() // half an answer must not look whole
  sendProblem(res, error, req.id)
}

export function sendProblem(res: Response, error: AppError, requestId: string): void {
  if (error.retryAfterMs !== undefined) res.setHeader('Retry-After', Math.ceil(error.retryAfterMs / 1000))
  res
    .status(error.kind.status)
    .set('Content-Type', 'application/problem+json')
    .send(JSON.stringify(problemOf(error, requestId)))
}

export function problemOf(error: AppError, requestId: string): Problem {
  return {
    type: `https://github.com/escala/escala/blob/main/docs/errors.md#${error.code.toLowerCase()}`,
    title: error.kind.title,
    status: error.kind.status,
    code: error.code,
    requestId,
    ...(error.detail !== undefined && { detail: error.detail }),
    ...(error.fields !== undefined && { fields: error.fields }),
  }
}

function toAppError(thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown
  // What Express and its body parser throw carries a status and a type.
  const { status, type } = thrown as { status?: unknown; type?: unknown }
  if (type === 'entity.too.large') return kitErrors.E_BODY_TOO_LARGE()
  if (type === 'charset.unsupported' || type === 'encoding.unsupported') return kitErrors.E_UNSUPPORTED_MEDIA_TYPE()
  if (type === 'entity.parse.failed') return kitErrors.E_MALFORMED_BODY()
  if (status === 400) return kitErrors.E_MALFORMED_REQUEST() // an address that cannot be decoded, a body that broke off
  return kitErrors.E_INTERNAL({ cause: thrown })
}
