import type { Options, Store } from 'express-rate-limit'
import type { Redis } from 'ioredis'
import { RedisStore } from 'rate-limit-redis'
import { createScript } from '../redis/script.ts'
import type { RateLimitStores } from './rate-limits.ts'

export interface RedisRateLimitsOptions {
  /** Of the role `request`. */
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
  const send = (command: string, ...args: string[]) => redis.call(command, ...args) as Promise<number[]>
  const inner = new RedisStore({ prefix, sendCommand: send })
  let options: Options
  let loading: Promise<void> | undefined

  // rate-limit-redis loads its scripts once and keeps a failure for ever: begun without Redis, it would never work again.
  const load = () => {
    loading = inner.init(options).catch((error) => {
      loading = undefined
      throw error
    })
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
      try {
        return await inner.increment(key)
      } catch (error) {
        loading = undefined // perhaps it was loading them again, for a Redis that had lost them
        throw error
      }
    },
    get: (key) => inner.get(key),
    // Of a window that is over there is nothing to give back; a plain DECR would make a counter that never expires.
    async decrement(key) {
      await giveBack.run(redis, [inner.prefixKey(key)], [])
    },
    resetKey: (key) => inner.resetKey(key),
  }
}
