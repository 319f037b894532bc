import type { Store } from 'express-rate-limit'
import { createScript } from '../redis/script.ts'
import type { RateLimitPolicy, RateLimitStores } from './rate-limits.ts'
import type { RedisRateLimitsOptions } from './redis.ts'

export interface GcraOptions extends RedisRateLimitsOptions {
  /** Requests that may come at once, as a part of the limit. Default: a tenth, at least one. */
  burst?: (policy: RateLimitPolicy) => number
}

/**
 * For costly routes: requests at an even pace (generic cell rate algorithm, as in ATM networks). Whatever the moment a window
 * is taken to begin, at most `limit + burst` pass in it; counters in fixed windows let twice the limit pass around an edge.
 */
export function createGcraRateLimits({ redis, prefix = 'gcra:', burst = tenth }: GcraOptions): RateLimitStores {
  return {
    scope: 'cluster',
    create(policy): Store {
      const { name, limit, windowMs } = policy
      const keyOf = (key: string) => `${prefix}${name}:${key}`
      const [pace, depth] = [windowMs / limit, Math.max(1, burst(policy))]
      return {
        prefix: keyOf(''),
        async increment(key) {
          const reply = await take.run(redis, [keyOf(key)], [pace, depth])
          const [left, waitMs] = reply as [number, number]
          // In express-rate-limit's words: what is left below the limit, or one more than the limit.
          return { totalHits: left < 0 ? limit + 1 : limit - left, resetTime: new Date(Date.now() + waitMs) }
        },
        async decrement() {},
        async resetKey(key) {
          await redis.del(keyOf(key))
        },
      }
    },
  }
}

const tenth = ({ limit }: RateLimitPolicy) => Math.ceil(limit / 10)

// KEYS[1] holds the time at which the client's requests so far would be over, had they come at an even pace.
// ARGV: milliseconds between two requests; requests that may come at once. Returns what is left (-1: refused) and a wait.
const take = createScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local pace, depth = tonumber(ARGV[1]), tonumber(ARGV[2])
local due = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
local wait = due - pace * (depth - 1) - now
if wait > 0.001 then return { -1, math.ceil(wait) } end
due = due + pace
redis.call('SET', KEYS[1], string.format('%.3f', due), 'PX', math.max(1, math.ceil(due - now)))
return { math.floor(depth - (due - now) / pace + 0.001), math.ceil(due - now) }
`)
