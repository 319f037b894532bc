import type { Redis } from 'ioredis'
import { kitErrors } from '../errors/errors.ts'
import { createScript } from '../redis/script.ts'
import {
  checkField,
  createNames,
  type SessionRecord,
  type SessionState,
  sessionRecordDefaults,
} from './session-state.ts'

export interface RedisSessionStateOptions {
  /** A connection of the role `request`. */
  redis: Redis
  /** Comes before `NAME:` in every key. */
  prefix?: string
  /** Names that would lead to the keys of something else. */
  taken?: string[]
}

/** One Redis hash for each record, under `PREFIX` `NAME` `:` `KEY`. Throws `E_REDIS_UNAVAILABLE`. */
export function createRedisSessionState({ redis, prefix = '', taken }: RedisSessionStateOptions): SessionState {
  const takeName = createNames(taken)
  const names: string[] = []
  return {
    scope: 'cluster',
    async readAll(key) {
      const records = await available(Promise.all(names.map((name) => redis.hgetall(`${prefix}${name}:${key}`))))
      const found = names.map((name, i): [string, SessionRecord] => [name, records[i] ?? {}])
      return Object.fromEntries(found.filter(([, record]) => Object.keys(record).length > 0))
    },
    async clearAll(key) {
      await available(Promise.all(names.map((name) => redis.del(`${prefix}${name}:${key}`))))
    },
    open(name, options = {}) {
      takeName(name)
      names.push(name)
      const { idleMs, visitorIdleMs, maxFields, maxFieldBytes } = { ...sessionRecordDefaults, ...options }
      const keyOf = (key: string) => `${prefix}${name}:${key}`
      return {
        async get(key, { isVisitor = false } = {}) {
          const found = redis.hgetall(keyOf(key))
          const renewed = redis.pexpire(keyOf(key), isVisitor ? visitorIdleMs : idleMs) // in the same turn: no wait of its own
          const [record] = await available(Promise.all([found, renewed]))
          return record
        },
        async put(key, field, value, { isVisitor = false } = {}) {
          checkField(field, value, maxFieldBytes)
          const args = [field, maxFields, isVisitor ? visitorIdleMs : idleMs, ...(value === undefined ? [] : [value])]
          const reply = await available(put.run(redis, [keyOf(key)], args))
          return reply === null ? undefined : toRecord(reply as string[])
        },
        async clear(key) {
          await available(redis.del(keyOf(key)))
        },
      }
    },
  }
}

// A retry after a lost response writes the same again. ARGV: field, most fields, lifetime in ms, and the value unless the field goes.
const put = createScript(`
if ARGV[4] then
  local isNew = redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0
  if isNew and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[2]) then return false end
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[4])
else
  redis.call('HDEL', KEYS[1], ARGV[1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return redis.call('HGETALL', KEYS[1])
`)

async function available<T>(command: Promise<T>): Promise<T> {
  try {
    return await command
  } catch (cause) {
    throw kitErrors.E_REDIS_UNAVAILABLE({ cause, retryAfterMs: 1000 })
  }
}

function toRecord(flat: string[]): SessionRecord {
  return Object.fromEntries(
    Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i] ?? '', flat[2 * i + 1] ?? '']),
  )
}
