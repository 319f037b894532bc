import type { Redis } from 'ioredis'
import { kitErrors } from '../errors/errors.ts'
import { createScript } from '../redis/script.ts'
import { createLocks, type LeaseStore, type LocksOptions } from './lease.ts'
import type { Locks } from './locks.ts'

export interface RedisLocksOptions extends LocksOptions {
  /** A connection of the role `request` to the state server: an evicted lock is a lock that two hold. */
  redis: Redis
  prefix?: string
}

// KEYS: lock, last fence. ARGV: token, lease in ms, highest fence that this process has seen. Returns the fence, or nil when somebody else holds the lock.
// A token that holds it already asks again because the first answer was lost: it keeps its fence.
// The fence is a count that is never behind the server's clock, so that it also grows after a Redis that lost its data, nor
// behind what this process has seen, so that it also grows when the next Redis's clock is behind the last one's.
const take = createScript(`
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return nil end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
if holder then return string.format('%.0f', last) end
local time = redis.call('TIME')
local fence = string.format('%.0f', math.max(last + 1, time[1] * 1000000 + time[2], ARGV[3] + 1))
redis.call('SET', KEYS[2], fence, 'EX', 604800)
return fence`)

const extend = createScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`)

const give = createScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`)

/**
 * One key per lock, with the holder's token, on one Redis server. One round trip to acquire, to renew and to release.
 * A lease alone cannot keep a paused holder from waking late: let the resource check the fence.
 * Closed on failure: `E_REDIS_UNAVAILABLE`.
 */
export function createRedisLocks({ redis, prefix = 'lock:', ...options }: RedisLocksOptions): Locks {
  const keys = (name: string) => [`${prefix}{${name}}`, `${prefix}{${name}}:fence`]
  const ask = async <T>(answer: Promise<unknown>): Promise<T> => {
    try {
      return (await answer) as T
    } catch (cause) {
      throw kitErrors.E_REDIS_UNAVAILABLE({ cause, retryAfterMs: 1000 })
    }
  }
  let highest = 0 // of any lock: one number, however many names there are
  const store: LeaseStore = {
    scope: 'cluster',
    async take(name, token, leaseMs) {
      const fence = await ask<string | null>(take.run(redis, keys(name), [token, leaseMs, highest]))
      if (fence === null) return undefined
      highest = Math.max(highest, Number(fence))
      return BigInt(fence)
    },
    extend: async (name, token, leaseMs) =>
      (await ask<number>(extend.run(redis, keys(name).slice(0, 1), [token, leaseMs]))) === 1,
    give: (name, token) => ask<void>(give.run(redis, keys(name).slice(0, 1), [token])),
  }
  return createLocks(store, options)
}
