import type { Request } from 'express'
import { bootErrors, kitErrors } from '../errors/errors.ts'
import { type Bearer, bearerFailure, bearerOf } from '../sessions/bearer.ts'
import { sessionUser } from '../sessions/express-session.ts'
import type { Access, Route } from './route.ts'

/** Decides about routes that ask for a role. */
export type HasRole = (userId: string, role: string, req: Request) => Promise<boolean>

type Asked = Pick<Route, 'access' | 'method' | 'scopes' | 'ignoresSession'>

/** Returns the user of a request that may use a route; `undefined` where none is known. Throws why it may not. */
export async function checkAccess(route: Asked, req: Request, hasRole: HasRole): Promise<string | undefined> {
  const bearer = bearerOf(req)
  if (bearer !== undefined) return await checkBearer(route, bearer, req, hasRole)
  const userId = sessionUser(req)
  if (req.sessionUnavailable && !isServedWithoutSession(route)) {
    throw kitErrors.E_REDIS_UNAVAILABLE({ retryAfterMs: 1000 })
  }
  if (route.access === 'public') return userId
  if (userId === undefined) throw kitErrors.E_NOT_LOGGED_IN()
  if (route.access === 'user') return userId
  if (!(await hasRole(userId, route.access.role, req))) throw kitErrors.E_FORBIDDEN()
  return userId
}

/** A token has no session: it is for routes that name what it needs. */
async function checkBearer(route: Asked, bearer: Bearer | 'invalid', req: Request, hasRole: HasRole) {
  const { access, method, scopes } = route
  if (access === 'public' && method === 'get') return undefined
  if (bearer === 'invalid') throw bearerFailure(req) ?? kitErrors.E_NOT_LOGGED_IN()
  if (!scopes?.every((scope) => bearer.scopes.includes(scope))) throw kitErrors.E_SCOPE()
  if (typeof access === 'object' && !(await hasRole(bearer.userId, access.role, req))) throw kitErrors.E_FORBIDDEN()
  return bearer.userId
}

/** Never anonymous: a public route that reads asks for the session itself where it needs it. */
function isServedWithoutSession({ access, method, ignoresSession = false }: Asked): boolean {
  return access === 'public' && (method === 'get' || ignoresSession)
}

/** Throws `E_MODULE` for a role that no user could ever have. */
export function refuseUnknownRole(name: string, access: Access, roles: readonly string[]): void {
  if (typeof access !== 'object' || roles.includes(access.role)) return
  throw bootErrors.E_MODULE({ detail: `${name} asks for the role ${access.role}, which no module declares` })
}
