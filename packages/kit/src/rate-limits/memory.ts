import { MemoryStore } from 'express-rate-limit'
import type { RateLimitStores } from './rate-limits.ts'

/** Counters in this process alone: with N replicas a client has N times the limit. */
export function createMemoryRateLimits(): RateLimitStores {
  return { scope: 'process', create: () => new MemoryStore() }
}
