import type { ServerResponse } from 'node:http'
import type { RequestHandler } from 'express'

export interface CorsOptions {
  /** Exact origins, as browsers send them: `https://app.example.com`. */
  origins: readonly string[]
  /** Request headers that pages may send, beside those of every API. */
  requestHeaders?: readonly string[]
}

export interface Cors {
  /** Answers preflights of listed origins and sets the headers of every other response. Comes before whatever counts or refuses requests. */
  middleware: RequestHandler
  /** Sets the headers of a response to a request with this `Origin`. */
  setHeaders(res: ServerResponse, origin: string | undefined): void
}

/** How long a browser remembers a preflight, in seconds: two hours, the most that Chrome allows. */
const maxAgeSeconds = 7200
const methods = 'GET, HEAD, POST, PUT, PATCH, DELETE'
const basicHeaders = ['Authorization', 'Content-Type', 'If-Match', 'If-None-Match', 'Last-Event-ID', 'Traceparent']

/** What pages of other origins may read of a response, beside what they always may. NGINX names the same for its own errors. */
export const exposedHeaders = 'X-Request-Id, Retry-After, ETag, RateLimit, RateLimit-Policy, Idempotency-Replayed'

/**
 * Lets pages of the listed origins send requests, with cookies, and read the responses. Every response varies by `Origin`, so no cache hands
 * one origin's response to another. Not the package `cors`: it answers the preflights of origins that are not listed, too.
 */
export function createCors({ origins, requestHeaders = [] }: CorsOptions): Cors {
  const listed = new Set(origins)
  const headers = [...new Set([...basicHeaders, ...requestHeaders])].join(', ')
  const setHeaders = (res: ServerResponse, origin: string | undefined) => {
    res.setHeader('Vary', 'Origin')
    if (origin === undefined || !listed.has(origin)) return false
    res.setHeader('Access-Control-Allow-Origin', origin)
    res.setHeader('Access-Control-Allow-Credentials', 'true')
    res.setHeader('Access-Control-Expose-Headers', exposedHeaders)
    return true
  }
  return {
    setHeaders,
    middleware(req, res, next) {
      const isListed = setHeaders(res, req.headers.origin)
      const isPreflight = req.method === 'OPTIONS' && req.headers['access-control-request-method'] !== undefined
      if (!isListed || !isPreflight) return next()
      res.setHeader('Access-Control-Allow-Methods', methods)
      res.setHeader('Access-Control-Allow-Headers', headers)
      res.setHeader('Access-Control-Max-Age', maxAgeSeconds)
      res.status(204).end()
    },
  }
}
