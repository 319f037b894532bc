import type { Route } from '@escala/kit/http/route.ts'
import { createPasswords } from '@escala/kit/passwords/passwords.ts'
import { type SessionDeps, sessionRoutes } from './session.ts'
import { userRoutes } from './users.ts'

/** Sign-up and log-in: part of the kit, whatever domain is served beside them. */
export function accountRoutes(deps: Omit<SessionDeps, 'passwords'>): Route[] {
  const passwords = createPasswords()
  return [...userRoutes({ ...deps, passwords }), ...sessionRoutes({ ...deps, passwords })]
}
