import type { Request, RequestHandler } from 'express'
import { kitErrors } from '../errors/errors.ts'
import { sessionKey } from '../sessions/request-cookies.ts'

const reads = new Set(['GET', 'HEAD', 'OPTIONS'])

/**
 * Refuses requests that change something, carry a session's cookie and come from a page of another site that is not listed
 * (`E_FOREIGN_ORIGIN`): the browser sends the cookie, but the user meant something else. Comes after the session.
 */
export function createOriginCheck(origins: readonly string[]): RequestHandler {
  const listed = new Set(origins)
  return (req, _res, next) => {
    if (reads.has(req.method) || sessionKey(req) === undefined || isMeant(req, listed)) return next()
    next(kitErrors.E_FOREIGN_ORIGIN())
  }
}

/**
 * Browsers say where a request comes from, and no page can change it: in `Sec-Fetch-Site` over HTTPS and on localhost, and in `Origin`
 * otherwise. A request with neither comes from no page, but from a program that has the cookie and could send any header.
 */
function isMeant({ headers }: Request, listed: ReadonlySet<string>): boolean {
  const { origin, 'sec-fetch-site': site } = headers
  if (origin !== undefined && listed.has(origin)) return true
  if (site !== undefined) return site === 'same-origin' || site === 'same-site' || site === 'none'
  return origin === undefined || hostOf(origin) === headers.host
}

function hostOf(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host : undefined
}
