import type { Store } from 'express-rate-limit'
import type { Scope } from '../scope.ts'

/** `limit` requests of one client in each window of `windowMs`. */
export interface RateLimitPolicy {
  /** Names the policy in the `RateLimit` header and in the store's keys. */
  name: string
  /** Requests per window. */
  limit: number
  /** In milliseconds. */
  windowMs: number
}

/** Makes the store of one policy; policies never share counters. A store rejects when it cannot count; `createRateLimit` says what the limit does then. */
export interface RateLimitStores {
  scope: Scope
  create(policy: RateLimitPolicy): Store
}
