import type { Store } from 'express-rate-limit'
import type { Redis } from 'ioredis'
import { createScript } from '../redis/script.ts'
import type { RateLimitStores } from './rate-limits.ts'

export interface RedisRateLimitsOptions {
  /** A connection of the role `request`. */
  redis: Redis
  prefix?: string
}

/** Counters that every replica shares, in windows that begin with a client's first request, by Redis's clock. */
export function createRedisRateLimits({ redis, prefix = 'rate-limit:' }: RedisRateLimitsOptions): RateLimitStores {
  return {
    scope: 'cluster',
    create({ name, windowMs }): Store {
      const keyOf = (key: string) => `${prefix}${name}:${key}`
      return {
        prefix: keyOf(''),
        async increment(key) {
          const [totalHits, leftMs] = (await count.run(redis, [keyOf(key)], [windowMs])) as [number, number]
          return { totalHits, resetTime: new Date(Date.now() + leftMs) }
        },
        // Nothing to refund once the window has expired; a bare DECR would create a key without a TTL.
        async decrement(key) {
          await giveBack.run(redis, [keyOf(key)], [])
        },
        async resetKey(key) {
          await redis.del(keyOf(key))
        },
      }
    },
  }
}

// As rate-limit-redis counts: returns the requests in this window, this one included, and how long the window lasts.
const count = createScript(`
local left = redis.call('PTTL', KEYS[1])
if left <= 0 then
  redis.call('SET', KEYS[1], 1, 'PX', ARGV[1])
  return { 1, tonumber(ARGV[1]) }
end
return { redis.call('INCR', KEYS[1]), left }
`)

const giveBack = createScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then return redis.call('DECR', KEYS[1]) end
return 0
`)
