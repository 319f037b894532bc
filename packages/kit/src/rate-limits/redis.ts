import type { Options, Store } from 'express-rate-limit'
import type { Redis } from 'ioredis'
import { RedisStore } from 'rate-limit-redis'
import { createScript } from '../redis/script.ts'
import type { RateLimitStores } from './rate-limits.ts'

export interface RedisRateLimitsOptions {
  /** A connection of the role `request`. */
  redis: Redis
  prefix?: string
}

/** Counters that every replica shares, in windows that begin with a client's first request, by Redis's clock. */
export function createRedisRateLimits({ redis, prefix = 'rate-limit:' }: RedisRateLimitsOptions): RateLimitStores {
  return { scope: 'cluster', create: ({ name }) => createStore(redis, `${prefix}${name}:`) }
}

const giveBack = createScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then return redis.call('DECR', KEYS[1]) end
return 0
`)

function createStore(redis: Redis, prefix: string): Store {
  let options: Options
  let loading: Promise<void> | undefined
  const send = (command: string, ...args: string[]) => {
    const answer = redis.call(command, ...args) as Promise<number[]>
    // rate-limit-redis keeps the failure to load its scripts, at the start or again, for ever.
    if (command === 'SCRIPT') {
      answer.catch(() => {
        loading = undefined
      })
    }
    return answer
  }
  const inner = new RedisStore({ prefix, sendCommand: send })
  const load = () => {
    loading = inner.init(options)
    return loading
  }

  return {
    prefix,
    async init(given) {
      options = given
      await load().catch(() => undefined) // without Redis: the first request tries again
    },
    async increment(key) {
      if (!loading) await load()
      return inner.increment(key)
    },
    get: (key) => inner.get(key),
    // Nothing to refund once the window has expired; a bare DECR would create a key without a TTL.
    async decrement(key) {
      await giveBack.run(redis, [inner.prefixKey(key)], [])
    },
    resetKey: (key) => inner.resetKey(key),
  }
}
