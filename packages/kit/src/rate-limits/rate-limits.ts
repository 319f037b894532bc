import type { Store } from 'express-rate-limit'
import type { Scope } from '../scope.ts'

/** `limit` requests of one client in each window of `windowMs`. */
export interface RateLimitPolicy {
  /** Names the policy in the `RateLimit` header and in the store's keys. */
  name: string
  limit: number
  windowMs: number
}

/** Makes the store of one policy: counters are never shared between policies. */
export interface RateLimitStores {
  scope: Scope
  create(policy: RateLimitPolicy): Store
}
