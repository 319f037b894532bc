import type { Route } from '@escala/kit/http/route.ts'
import { type SessionDeps, sessionRoutes } from './session.ts'
import { userRoutes } from './users.ts'

/** Sign-up and log-in: part of the kit, whatever domain is served beside them. */
export function accountRoutes(deps: SessionDeps): Route[] {
  return [...userRoutes(deps), ...sessionRoutes(deps)]
}
