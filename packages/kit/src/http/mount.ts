import express, { type Request, type RequestHandler, type Router } from 'express'
import type { z } from 'zod'
import { bootErrors, kitErrors } from '../errors/errors.ts'
import type { OnceParts } from '../idempotency/once.ts'
import { checkAccess, type HasRole, refuseUnknownRole } from './access.ts'
import { createReadBody, isForm, isRaw, type ReadBody, rawBodyOf } from './body.ts'
import { createBodyRoom } from './body-room.ts'
import { canonicalParams, redirectToCanonical } from './canonical.ts'
import { refuseCollisions } from './collisions.ts'
import { readForm } from './form.ts'
import { onceFor, replayedHeader, whyNotIdempotent } from './idempotent.ts'
import type { Access, Context, FormBody, Idempotent, Route } from './route.ts'
import { createRouteLimits, type RouteLimit, type RouteLimitParts } from './route-limit.ts'
import { type ModuleRouter, mountRouters } from './routers.ts'

export interface MountOptions {
  /** Every role that users can be given. */
  roles: readonly string[]
  /** Decides about routes that ask for a role. */
  hasRole: HasRole
  /** Keeps the keys of idempotent routes. */
  once?: OnceParts
  /** Counts the requests to routes with a limit. */
  limits?: RouteLimitParts
  /** Express routers of modules. */
  routers?: ModuleRouter[]
  /** Paths of the application that no route may take. */
  reserved?: readonly string[]
  /** Largest JSON body. */
  maxBodyBytes?: number
}

/**
 * Puts routes on a router: access and limit, then the body and other input, then the handler, whose answer is checked too. Another
 * method of a known path is a 405. On a router with strict routing, GET and HEAD with one trailing slash get a redirect to the path
 * without it.
 * Throws `E_MODULE` when a route asks for a role that is not in `roles`, which no user could ever have, and when a route could
 * never be reached.
 */
export function mountRoutes(router: Router, routes: Route[], options: MountOptions): void {
  const { routers = [], reserved = [] } = options
  refuseCollisions(routes, reserved, routers)
  mountRouters(router, routers, options)
  const limitOf = createRouteLimits(options.limits)
  const json = express.json({ limit: options.maxBodyBytes ?? 100_000, strict: true })
  const takeRoom = createBodyRoom()
  for (const route of routes) {
    refuseUnknownRole(`${route.method.toUpperCase()} ${route.path}`, route.access, options.roles)
    const reason = whyNotIdempotent(route, options.once)
    if (reason) throw bootErrors.E_MODULE({ detail: `${route.method.toUpperCase()} ${route.path} ${reason}` })
    const before = { limit: limitOf(route), readBody: createReadBody(route, json, takeRoom) }
    router[route.method](route.path, handle(route, options, before))
  }
  for (const path of new Set(routes.map((route) => route.path))) {
    const methods = routes.filter((route) => route.path === path).map((route) => route.method.toUpperCase())
    router.all(path, (_req, res, next) => {
      res.setHeader('Allow', methods.join(', '))
      next(kitErrors.E_METHOD_NOT_ALLOWED())
    })
    if (methods.includes('GET') && !path.endsWith('/')) router.get(`${path}/`, redirectToCanonical(path))
  }
}

interface Before {
  limit: RouteLimit | undefined
  readBody: ReadBody | undefined
}

function handle(route: Route, { hasRole, once: onceParts }: MountOptions, { limit, readBody }: Before): RequestHandler {
  return async (req, res) => {
    const userId = await checkAccess(route, req, hasRole)
    await limit?.(req, res, userId)
    await readBody?.(req, res) // who may not use the route takes no memory for a body
    const params = parse(route.params, canonicalParams(req.params), '')
    const query = parse(route.query, req.query, 'query.')
    const body = await bodyOf(route, req)
    const keyed = route.idempotent && onceParts && userId ? onceFor(onceParts, route, req, userId) : undefined
    const context: Context<unknown, unknown, unknown, Access, Idempotent | undefined> = {
      params,
      query,
      body,
      once: keyed?.once,
      user: userId === undefined ? undefined : { id: userId },
      requestId: req.id,
      traceparent: req.traceparent,
      get log() {
        return req.log // made when it is asked for
      },
      signal: req.deadline,
      req,
      res,
    }
    const response = await route.handle(context)
    if (response === undefined || res.headersSent) return
    const isReplayed = keyed?.isReplayed(response.status)
    const schema = response.stored || isReplayed ? undefined : route.responses[response.status]?.schema
    const text = JSON.stringify(schema ? schema.parse(response.body) : response.body) // may throw, before any header is set
    for (const [name, value] of Object.entries(response.headers ?? {})) res.setHeader(name, value)
    if (isReplayed) res.setHeader(replayedHeader, 'true')
    res.status(response.status)
    if (response.body === undefined) return void res.end()
    // Not `res.send`, which finds out for each answer what is known here.
    res.setHeader('Content-Type', 'application/json; charset=utf-8')
    res.setHeader('Content-Length', Buffer.byteLength(text))
    res.end(text)
  }
}

/** Returns the body in the form that the route declares. */
function bodyOf({ body }: Route, req: Request): unknown {
  if (isRaw(body)) return rawBodyOf(req)
  return isForm(body) ? formOf(body, req) : parse(body, req.body, '')
}

async function formOf({ form }: FormBody, req: Request) {
  const { fields, file } = await readForm(req, form.maxBytes)
  return { fields: parse(form.fields, fields, ''), file }
}

function parse(schema: z.ZodType | undefined, value: unknown, prefix: string): unknown {
  if (schema === undefined) return undefined
  const parsed = schema.safeParse(value ?? {})
  if (parsed.success) return parsed.data
  const fields: Record<string, string> = Object.create(null) // a client's key may be `__proto__`
  for (const issue of parsed.error.issues) {
    const where = [prefix, ...issue.path.map((part) => `${String(part)}.`)].join('')
    // Zod's own message lists all keys: repeated for each of them, it would grow with the square of their number.
    if (issue.code === 'unrecognized_keys') for (const key of issue.keys) fields[`${where}${key}`] = 'Unrecognized key'
    else fields[where.replace(/\.$/, '') || 'body'] = issue.message
  }
  throw kitErrors.E_VALIDATION({ fields })
}
