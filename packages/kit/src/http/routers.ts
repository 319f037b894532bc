import type { RequestHandler, Router } from 'express'
import { bootErrors } from '../errors/errors.ts'
import { checkAccess, type HasRole, refuseUnknownRole } from './access.ts'
import { notFound } from './problem.ts'
import type { Access, Method } from './route.ts'

/** Ordinary handlers, for every request. Their failures become problems, and the request's deadline holds for them. */
export interface ModuleMiddleware {
  /** Before the session is known and before any limit has counted the request: keep it cheap. */
  beforeSession?: RequestHandler[]
  /** After the session and the limits, before any route. */
  afterSession?: RequestHandler[]
}

/** An Express router of a module's own. Session, limits, log, metrics, deadline and problems hold for it as for routes. */
export interface ModuleRouter {
  /** Plain text, such as `/v1/links/export`: everything below it is the router's, and of no route. */
  path: string
  router: Router
  /** As a route's, for all of it. */
  access: Access
  /** As a route's: what a token needs. */
  scopes?: string[]
}

declare global {
  namespace Express {
    interface Request {
      /** Path of the module's router that the request belongs to: one label for all that is below it. */
      routerPath?: string
    }
  }
}

interface RouterOptions {
  roles: readonly string[]
  hasRole: HasRole
}

/** Puts modules' routers on the application's. What such a router does not know is a 404: nothing else is below its path. */
export function mountRouters(app: Router, routers: ModuleRouter[], { roles, hasRole }: RouterOptions): void {
  for (const { path, router, access, scopes } of routers) {
    if (!/^(\/[A-Za-z0-9._~-]+)+$/.test(path)) {
      throw bootErrors.E_MODULE({
        detail: `the router ${path} needs a path of plain segments, such as /v1/links/export`,
      })
    }
    refuseUnknownRole(`the router ${path}`, access, roles)
    const enter: RequestHandler = async (req, _res, next) => {
      req.routerPath = path
      await checkAccess({ access, scopes, method: methodOf(req.method) }, req, hasRole)
      next()
    }
    app.use(path, enter, router, notFound)
  }
}

/** Requests that only read are a `get`, whatever they are called. */
function methodOf(method: string): Method {
  return ['GET', 'HEAD', 'OPTIONS'].includes(method) ? 'get' : 'post'
}
