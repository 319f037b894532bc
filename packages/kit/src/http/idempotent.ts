import type { Request } from 'express'
import type { IdempotentRequest } from '../idempotency/idempotency.ts'
import { type CreatedOnce, createOnce, type OnceParts } from '../idempotency/once.ts'
import { fingerprint, parseKey } from '../idempotency/request.ts'
import type { Route } from './route.ts'

export const keyHeader = 'Idempotency-Key'
export const replayedHeader = 'Idempotency-Replayed'

/** What a route that takes keys responds with besides its own. */
export function keyErrors({ idempotent }: Pick<Route, 'idempotent'>): string[] {
  if (!idempotent) return []
  const always = ['E_IDEMPOTENCY_IN_PROGRESS', 'E_IDEMPOTENCY_MISMATCH']
  return idempotent === 'optional' ? always : ['E_IDEMPOTENCY_KEY_MISSING', ...always]
}

/** Why a route cannot be idempotent; `undefined` when it can. */
export function whyNotIdempotent(route: Route, parts: OnceParts | undefined): string | undefined {
  if (!route.idempotent) return undefined
  if (route.access === 'public') return 'is idempotent, which needs a user whose key it is'
  if (route.method === 'get') return 'is idempotent by itself: it needs no key'
  if (route.body && 'form' in route.body) return 'is idempotent, which a form with a file cannot be'
  return parts === undefined ? 'is idempotent, but the application keeps no keys' : undefined
}

/** Reads the key of a request to an idempotent route. Throws `E_IDEMPOTENCY_KEY_MISSING`, or `E_VALIDATION` for a malformed one. */
export function onceFor(
  parts: OnceParts,
  route: Route,
  req: Request,
  owner: string,
): CreatedOnce<IdempotentRequest | undefined> {
  const header = req.headers['idempotency-key']
  if (header === undefined && route.idempotent === 'optional') return createOnce(parts, undefined)
  const key = parseKey(header)
  // The body as it was sent: what the schema makes of it may change between versions.
  return createOnce(parts, { owner, key, fingerprint: fingerprint(route.method, pathOf(route, req), req.body) })
}

/** The path in its canonical form, with the query if the route has one. */
function pathOf({ path, query }: Route, req: Request): string {
  const named = path.replace(/[:*](\w+)/g, (_, name) => encodeURIComponent(String(req.params[name])))
  return query === undefined ? named : `${named}?${JSON.stringify(Object.entries(req.query).sort())}`
}
