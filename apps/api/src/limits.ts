import type { Logger } from '@escala/kit/log/log'
import { addressKey, createRateLimit, type RateLimit } from '@escala/kit/rate-limits/middleware'
import type { RateLimitStores } from '@escala/kit/rate-limits/rate-limits'
import { bearerFailure, bearerKey, hasBearer } from '@escala/kit/sessions/bearer'
import { sessionUser } from '@escala/kit/sessions/express-session'
import { logInKey, sessionKey } from '@escala/kit/sessions/request-cookies'
import type { Request, RequestHandler, Response } from 'express'
import type { ApiConfig } from './config.ts'

export interface LimitsOptions {
  config: Pick<ApiConfig, 'RATE_LIMIT_PER_MINUTE' | 'ADDRESS_LIMIT_PER_MINUTE' | 'REDIS_TIMEOUT_MS'>
  rateLimits: RateLimitStores
  log: Logger
  /** Live replicas, as last known. */
  share: () => number
}

export interface Limits {
  limiters: RequestHandler[]
  settle(req: Request, res: Response): Promise<void> | undefined
  /** Throws `E_RATE_LIMITED` when too many visitors' sessions began at this address: each takes memory that must not be lost. */
  admitVisitor(req: Request): Promise<void>
  degraded(): boolean
}

/**
 * The limits of every request: one for a logged-in session, or for the address of a client that is not logged in; and a higher
 * one for an address, whatever it sends. Both leave in one turn of the event loop with the session's read. A token is counted once it is
 * known to be valid: anyone can make tokens up, and each would have a counter of its own.
 */
export function createLimits({ config, rateLimits, log, share }: LimitsOptions): Limits {
  const create = (name: string, limit: number, key: (req: Request) => string): RateLimit =>
    createRateLimit({
      policy: { name, limit, windowMs: 60_000 },
      stores: rateLimits,
      key,
      log,
      onStoreError: 'local-share',
      share,
      patienceMs: config.REDIS_TIMEOUT_MS / 2, // a request can be answered without it, and may have to wait for Redis once more
    })
  const perMinute = config.RATE_LIMIT_PER_MINUTE
  // What the cookie alone says; a visitor's session is counted by its address, so it grants no additional budget.
  const general = create('general', perMinute, (req) => logInKey(req) ?? addressKey(req))
  const address = create('address', config.ADDRESS_LIMIT_PER_MINUTE ?? 10 * perMinute, addressKey)
  const visitors = create('visitors', Math.ceil(perMinute / 10), addressKey)
  return {
    admitVisitor: (req) => visitors.check(req, req.res as Response),
    limiters: [(req, res, next) => (hasBearer(req) ? next() : general.middleware(req, res, next)), address.middleware],
    // The cookie of a session that has ended, or that never logged in, is worth nothing: the address counts.
    settle(req, res) {
      // Unknown, which is not anonymous: its address has been counted already.
      if (req.sessionUnavailable || bearerFailure(req) !== undefined) return undefined
      const isLoggedIn = sessionUser(req) !== undefined
      const key = bearerKey(req) ?? (isLoggedIn ? sessionKey(req) : undefined) ?? addressKey(req)
      return key === general.countedBy(req) ? undefined : general.check(req, res, key)
    },
    degraded: () => general.degraded() || address.degraded(),
  }
}
