import type { ErrorRequestHandler, RequestHandler, Response } from 'express'
import manifest from '#package.json' with { type: 'json' }
import { AppError } from '../errors/app-error.ts'
import { kitErrors } from '../errors/errors.ts'
import { isBadValue } from '../postgres/failures.ts'

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

/** Where `type` leads by default: the page that explains each code. */
export const defaultProblemBaseUrl = `${manifest.homepage}/blob/main/docs/errors.md`

/** Express's setting (`app.set`) for the page of an application's own. */
export const problemBaseUrl = 'problem base url'

/** `Cache-Control` of every response that may depend on who asks, errors included: neither a proxy nor a browser may keep it. */
export const personal = 'private, no-store'

export const notFound: RequestHandler = (_req, _res, next) => next(kitErrors.E_NOT_FOUND())

/** Last in line. Logs unexpected errors in full and reports them to the client as `E_INTERNAL`. Never throws, whatever was thrown. */
export const problemHandler: ErrorRequestHandler = (thrown, req, res, _next) => {
  if (res.closed && thrown === req.deadline?.reason) return // the client left, which is no failure, and reads nothing
  try {
    const error = toAppError(thrown)
    const { code, kind, cause } = error
    if (kind.status === 500) req.log.error({ err: thrown, code }, 'request failed')
    else if (cause !== undefined) req.log.warn({ err: cause, code }, 'request failed') // overload has none: it must not flood the log
    if (res.headersSent) return breakOff(res)
    req.problem = error
    sendProblem(res, error, req.id)
  } catch (failure) {
    if (res.headersSent) return breakOff(res)
    req.log?.error({ reason: String((failure as Error)?.message).slice(0, 500) }, 'error handler failed')
    sendProblem(res, kitErrors.E_INTERNAL(), req.id)
  }
}

/**
 * Half a response must not look whole. A whole one stays as it is: work that fails after its deadline has been answered must
 * not end the connection, on which the proxy may just be sending another request.
 */
function breakOff(res: Response): void {
  if (!res.writableEnded) res.destroy()
}

export function sendProblem(res: Response, error: AppError, requestId: string): void {
  if (error.retryAfterMs !== undefined) res.setHeader('Retry-After', Math.ceil(error.retryAfterMs / 1000))
  res
    .status(error.kind.status)
    .set('Content-Type', 'application/problem+json')
    .set('Cache-Control', personal) // whatever the route had said
    .send(JSON.stringify(problemOf(error, requestId, res.app?.get(problemBaseUrl))))
}

/** Bounds of a problem, so that a response about wrong input stays below 16 kB, whatever the input was. */
const maxFields = 20
const maxNameLength = 60
const maxTextLength = 200
const maxDetailLength = 1000

export function problemOf(error: AppError, requestId: string, baseUrl = defaultProblemBaseUrl): Problem {
  const { detail, fields } = error
  const all = Object.entries(fields ?? {})
  const listed = all.slice(0, maxFields).map(([name, why]) => [cut(name, maxNameLength), cut(why, maxTextLength)])
  const rest = all.length > maxFields ? `${all.length} fields are wrong; ${maxFields} of them are listed` : undefined
  const text = detail ?? rest
  return {
    type: `${baseUrl}#${error.code.toLowerCase()}`,
    title: error.kind.title,
    status: error.kind.status,
    code: error.code,
    requestId,
    ...(text !== undefined && { detail: cut(text, maxDetailLength) }),
    ...(fields !== undefined && { fields: Object.fromEntries(listed) }),
  }
}

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`
}

function toAppError(thrown: unknown): AppError {
  if (thrown instanceof AppError) return thrown
  // A value that passed the schema and that Postgres does not take: the schema should have refused it, hence the log line.
  if (isBadValue(thrown)) return kitErrors.E_VALIDATION({ cause: thrown, detail: 'the database does not take a value' })
  // What Express and its body parser throw carries a status and a type.
  const { status, type } = (thrown ?? {}) as { status?: unknown; type?: unknown }
  if (type === 'entity.too.large') return kitErrors.E_BODY_TOO_LARGE()
  if (type === 'charset.unsupported' || type === 'encoding.unsupported') return kitErrors.E_UNSUPPORTED_MEDIA_TYPE()
  if (type === 'entity.parse.failed') return kitErrors.E_MALFORMED_BODY()
  // An address that cannot be decoded, a body that broke off, a precondition of a file.
  if (typeof status === 'number' && status >= 400 && status < 500) return kitErrors.E_MALFORMED_REQUEST()
  return kitErrors.E_INTERNAL({ cause: thrown })
}
