import { randomUUID } from 'node:crypto'
import type { Request, RequestHandler, Response } from 'express'
import type { AppError } from '../errors/app-error.ts'
import { kitErrors } from '../errors/errors.ts'
import { type Logger, withoutRedaction } from '../log/log.ts'
import { withRequestId } from '../log/request-id.ts'
import type { RequestSeen } from '../metrics/metrics.ts'
import { bearerUser } from '../sessions/bearer.ts'
import { sessionUser } from '../sessions/express-session.ts'
import { carriedTracing, isTraceparent, type Tracing } from '../tracing/tracing.ts'
import { withoutPorts } from './forwarded.ts'
import { personal, problemHandler } from './problem.ts'

declare global {
  namespace Express {
    interface Request {
      /** Made by the proxy, or here where there is none. */
      id: string
      /** W3C's, of this request: whatever it leads to carries it. */
      traceparent: string | undefined
      log: Logger
      /** Aborted when the client goes away or the deadline passes. */
      deadline: AbortSignal
      /** The error of its response: for the log line and the metrics. */
      problem?: AppError
    }
  }
}

export interface RequestContextOptions {
  log: Logger
  replicaId: string
  /** Sends `X-Replica-Id`: for labs and demonstrations. */
  exposeReplica: boolean
  /** Longest time that a request may take; below the proxy's read timeout, so that the answer is ours. Streams are exempt. */
  deadlineMs: number
  /** Hears of each request once it has ended. */
  onRequest?(seen: RequestSeen): void
  /** Default: what the proxy sends is handed on. */
  tracing?: Tracing
}

const wellFormed = /^[A-Za-z0-9_-]{8,64}$/

/** First in line: gives each request its id, its log and its deadline, and writes one line when it ends. */
export function requestContext(options: RequestContextOptions): RequestHandler {
  const { log, replicaId, exposeReplica, deadlineMs, onRequest, tracing = carriedTracing } = options
  const lines = withoutRedaction(log)
  const give = lazily('log', (req) => log.child({ requestId: req.id }))
  return (req, res, next) => {
    give(req)
    const startedAt = performance.now()
    const forwarded = req.headers['x-forwarded-for']
    if (typeof forwarded === 'string') req.headers['x-forwarded-for'] = withoutPorts(forwarded)
    const isProxied = fromProxy(req)
    const given = isProxied ? req.get('x-request-id') : undefined
    req.id = given !== undefined && wellFormed.test(given) ? given : randomUUID()
    res.setHeader('X-Request-Id', req.id)
    res.setHeader('X-Content-Type-Options', 'nosniff')
    res.setHeader('Cache-Control', personal) // unless the route says otherwise
    if (exposeReplica) res.setHeader('X-Replica-Id', replicaId)

    const abort = new AbortController()
    req.deadline = abort.signal
    const timer = setTimeout(() => {
      if (res.headersSent) return // a stream, or an answer on its way
      const late = kitErrors.E_TIMEOUT({ retryAfterMs: 1000 })
      abort.abort(late)
      // Not by `next`: the handler, once aborted, calls it too, and Express's last handler would then end the connection.
      problemHandler(late, req, res, () => undefined)
    }, deadlineMs)
    res.on('close', () => {
      clearTimeout(timer)
      if (!res.writableFinished) abort.abort(new Error('the client went away'))
      const ms = Math.round((performance.now() - startedAt) * 10) / 10
      const status = statusOf(res)
      const { id: requestId, method, problem } = req
      const path = wholePath(req)
      const { code, reason } = problem ?? {}
      onRequest?.({ method, route: routeOf(req), status, ms, overloaded: code === 'E_OVERLOADED' ? reason : undefined })
      const line = { requestId, method, path, status, code, reason, ms, userId: sessionUser(req) ?? bearerUser(req) }
      if (res.writableFinished) lines.info(line, 'request')
      else lines.warn(line, 'request cut off')
    })
    const traceparent = isProxied ? req.get('traceparent') : undefined
    req.traceparent = isTraceparent(traceparent) ? traceparent : undefined
    if (tracing === carriedTracing) withRequestId(log, req.id, next)
    else trace(tracing, req, res, () => withRequestId(log, req.id, next))
  }
}

/**
 * Returns what gives a request a property that is made when it is first asked for: most requests log nothing of their own. On the
 * application's prototype, once: an accessor of each request's own costs more.
 */
function lazily<Name extends 'log'>(name: Name, make: (req: Request) => Request[Name]): (req: Request) => void {
  const own = (value: Request[Name]) => ({ configurable: true, enumerable: true, writable: true, value })
  return (req) => {
    const prototype = Object.getPrototypeOf(req)
    if (Object.hasOwn(prototype, name)) return
    Object.defineProperty(prototype, name, {
      configurable: true,
      get(this: Request) {
        const value = make(this)
        Object.defineProperty(this, name, own(value))
        return value
      },
      set(this: Request, value: Request[Name]) {
        Object.defineProperty(this, name, own(value))
      },
    })
  }
}

/** The request is one span, from here to its end. */
function trace(tracing: Tracing, req: Request, res: Response, work: () => void): void {
  const { method, path, id, traceparent } = req
  const attributes = { 'http.request.method': method, 'url.path': path, 'escala.request.id': id }
  void tracing.span({ name: method, kind: 'server', traceparent, attributes }, async (span) => {
    req.traceparent = span.traceparent
    const ended = new Promise((resolve) => res.once('close', resolve))
    work()
    await ended
    const [route, status] = [routeOf(req), statusOf(res)]
    span.describe({
      name: `${method} ${route}`,
      attributes: { 'http.route': route, 'http.response.status_code': status },
      failed: status >= 500 || !res.writableFinished,
    })
  })
}

/** 499, as in NGINX's log, for a request that ended without a response: Express's default says 200 until there is one. */
function statusOf(res: Response): number {
  return res.headersSent ? res.statusCode : 499
}

/** Whether the request came through a proxy that `TRUST_PROXY` names: only then are its headers believed. */
function fromProxy(req: Request): boolean {
  const trust = req.app.get('trust proxy fn') as (address: string, hop: number) => boolean
  return trust(req.socket.remoteAddress ?? '', 0)
}

/** The path as it was asked for: within a router, Express's own is what comes after the router's path. */
function wholePath(req: Request): string {
  return req.baseUrl === '' ? req.path : (req.originalUrl.split('?', 1)[0] ?? '')
}

/** What no route took is one time series, whatever was asked for. */
function routeOf(req: Request): string {
  const pattern: unknown = req.routerPath ?? req.route?.path
  return typeof pattern === 'string' ? pattern : 'none'
}
