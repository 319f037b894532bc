import type { Redis } from 'ioredis'
import { kitErrors } from '../errors/errors.ts'
import { createScript } from '../redis/script.ts'
import { type Cart, type CartOptions, type Carts, cartDefaults } from './cart.ts'

export interface RedisCartOptions extends CartOptions {
  /** A connection of the role `request`. */
  redis: Redis
  prefix?: string
}

/** One Redis hash for each cart, one field for each item. Throws `E_REDIS_UNAVAILABLE`. */
export function createRedisCarts({ redis, prefix = 'cart:', ...options }: RedisCartOptions): Carts {
  const { idleMs, visitorIdleMs, maxItems } = { ...cartDefaults, ...options }
  return {
    scope: 'cluster',
    async get(key, { isVisitor = false } = {}) {
      const found = redis.hgetall(prefix + key)
      const renewed = redis.pexpire(prefix + key, isVisitor ? visitorIdleMs : idleMs) // in the same turn: no wait of its own
      const [items] = await available(Promise.all([found, renewed]))
      return toCart(Object.entries(items))
    },
    async put(key, item, quantity, { isVisitor = false } = {}) {
      const lifeMs = isVisitor ? visitorIdleMs : idleMs
      const reply = await available(put.run(redis, [prefix + key], [item, quantity, maxItems, lifeMs]))
      return reply === null ? undefined : toCart(pairs(reply as string[]))
    },
    async clear(key) {
      await available(redis.del(prefix + key))
    },
  }
}

// A retry after a lost answer writes the same again. ARGV: item, quantity, largest number of items, lifetime in ms.
const put = createScript(`
if ARGV[2] == '0' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  local isNew = redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0
  if isNew and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then return false end
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return redis.call('HGETALL', KEYS[1])
`)

async function available<T>(command: Promise<T>): Promise<T> {
  try {
    return await command
  } catch (cause) {
    throw kitErrors.E_REDIS_UNAVAILABLE({ cause, retryAfterMs: 1000 })
  }
}

function pairs(flat: string[]): [string, string][] {
  return Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i] ?? '', flat[2 * i + 1] ?? ''])
}

function toCart(entries: [string, string][]): Cart {
  return Object.fromEntries(entries.map(([item, quantity]) => [item, Number(quantity)]))
}
