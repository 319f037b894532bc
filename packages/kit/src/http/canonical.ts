import type { Request, RequestHandler } from 'express'

const uuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** A response must not grow with what a client sends: longer paths are not redirected. */
const maxPathLength = 512

/** Brings the identifiers of a path to one form. In several spellings one resource would have several cache entries, files, locks and channels. */
export function canonicalParams(params: Request['params']): Request['params'] {
  for (const [name, value] of Object.entries(params)) {
    if (typeof value === 'string' && uuid.test(value)) params[name] = value.toLowerCase()
  }
  return params
}

/** Redirects to a route's path without its trailing slash and without the query: 308, which a client may remember. */
export function redirectToCanonical(path: string): RequestHandler {
  return (req, res, next) => {
    const params = canonicalParams(req.params)
    const canonical = path.replace(/:(\w+)/g, (_, name) => encodeURIComponent(String(params[name])))
    if (canonical.length > maxPathLength) return next()
    res.redirect(308, canonical)
  }
}
