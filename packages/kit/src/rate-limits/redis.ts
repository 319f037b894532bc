import type { ClientRateLimitInfo, Store } from 'express-rate-limit'
import type { RedisConnection } from '../redis/redis.ts'
import { createScript } from '../redis/script.ts'
import type { RateLimitStores } from './rate-limits.ts'

export interface RedisRateLimitsOptions {
  /** A connection of the role `request`. */
  redis: RedisConnection
  prefix?: string
}

/** Counters that every replica shares, in windows that begin with a client's first request, by Redis's clock. */
export function createRedisRateLimits({ redis, prefix = 'rate-limit:' }: RedisRateLimitsOptions): RateLimitStores {
  const count = createCounting(redis)
  return {
    scope: 'cluster',
    create({ name, windowMs }): Store {
      const keyOf = (key: string) => `${prefix}${name}:${key}`
      return {
        prefix: keyOf(''),
        increment: (key) => count(keyOf(key), windowMs),
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

interface Counting {
  key: string
  windowMs: number
  resolve(counted: ClientRateLimitInfo): void
  reject(error: unknown): void
}

/** What is counted in one turn of the event loop, for all policies and requests, is one command: a request alone counts twice. */
function createCounting(redis: RedisConnection): (key: string, windowMs: number) => Promise<ClientRateLimitInfo> {
  let waiting: Counting[] = []
  const send = async () => {
    const sent = waiting
    waiting = []
    const [keys, windows] = [sent.map(({ key }) => key), sent.map(({ windowMs }) => windowMs)]
    try {
      const replies = (await countAll.run(redis, keys, windows)) as number[]
      const now = Date.now()
      sent.forEach(({ resolve }, at) => {
        resolve({ totalHits: Number(replies[2 * at]), resetTime: new Date(now + Number(replies[2 * at + 1])) })
      })
    } catch (error) {
      for (const { reject } of sent) reject(error)
    }
  }
  return (key, windowMs) =>
    new Promise((resolve, reject) => {
      waiting.push({ key, windowMs, resolve, reject })
      if (waiting.length === 1) redis.atTurnsEnd(send)
    })
}

// As rate-limit-redis counts: for each key the requests in this window, this one included, and how long the window lasts.
const countAll = createScript(`
local counted = {}
for at, key in ipairs(KEYS) do
  local left = redis.call('PTTL', key)
  local hits = 1
  if left > 0 then
    hits = redis.call('INCR', key)
  else
    left = tonumber(ARGV[at])
    redis.call('SET', key, 1, 'PX', left)
  end
  counted[2 * at - 1], counted[2 * at] = hits, left
end
return counted
`)

const giveBack = createScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then return redis.call('DECR', KEYS[1]) end
return 0
`)
