import type { Request, Response } from 'express'
import { bootErrors } from '../errors/errors.ts'
import type { Logger } from '../log/log.ts'
import { addressKey, createRateLimit } from '../rate-limits/middleware.ts'
import type { RateLimitStores } from '../rate-limits/rate-limits.ts'
import type { LimitOption, Route } from './route.ts'

export interface RouteLimitParts {
  stores: RateLimitStores
  /** Live replicas, as last known. */
  share(): number
  /** Longest wait for the store, where a replica may count by itself instead. */
  patienceMs: number
  log: Logger
}

/** Counts a request. Rejects with `E_RATE_LIMITED`. */
export type RouteLimit = (req: Request, res: Response, userId: string | undefined) => Promise<void>

/** Makes the limits of routes. Throws `E_MODULE` for one that cannot be kept, or would share its counters with another. */
export function createRouteLimits(parts: RouteLimitParts | undefined): (route: Route) => RouteLimit | undefined {
  const names = new Set<string>()
  return (route) => {
    const { limit } = route
    if (limit === undefined) return undefined
    const name = nameOf(route)
    const reason = whyNot(limit, parts, names.has(name))
    if (reason !== undefined || parts === undefined) {
      throw bootErrors.E_MODULE({ detail: `the limit of ${route.method.toUpperCase()} ${route.path} ${reason}` })
    }
    names.add(name)
    const { log, stores, share, patienceMs } = parts
    const { requests, windowMs, by = 'user', onStoreError = 'local-share' } = limit
    const policy = { name, limit: requests, windowMs }
    const common = { policy, stores, key: addressKey, log }
    const { check } = createRateLimit(
      onStoreError === 'refuse' ? { ...common, onStoreError } : { ...common, onStoreError, share, patienceMs },
    )
    return (req, res, userId) => check(req, res, (by === 'user' ? userId : undefined) ?? addressKey(req))
  }
}

const maxWindowMs = 86_400_000
const maxRequests = 1_000_000

function whyNot(
  { requests, windowMs }: LimitOption,
  parts: RouteLimitParts | undefined,
  isTaken: boolean,
): string | undefined {
  if (parts === undefined) return 'cannot be kept: the application counts no requests'
  const isWhole = (value: number, most: number) => Number.isInteger(value) && value >= 1 && value <= most
  if (!isWhole(requests, maxRequests)) return `needs between 1 and ${maxRequests} requests`
  if (!isWhole(windowMs, maxWindowMs)) return `needs a window between 1 and ${maxWindowMs} ms`
  return isTaken ? 'has the same name as that of another route: give one of them another path' : undefined
}

/** Of `POST /v1/links/:id/clicks`: `post-v1-links-id-clicks`, in headers and in the store's keys. */
const nameOf = ({ method, path }: Route) => `${method}${path.replace(/[^A-Za-z0-9]+/g, '-')}`.replace(/-$/, '')
