import { RedisStore } from 'connect-redis'
import type { Redis } from 'ioredis'
import { createScript } from '../redis/script.ts'
import { endedSession, type SessionStore, type SessionStoreOptions, sessionDefaults } from './sessions.ts'

export interface RedisSessionsOptions extends SessionStoreOptions {
  /** Of the role `request`. */
  redis: Redis
  prefix?: string
}

/** Sessions that every replica sees. A record lives at `{<prefix><id>}`; `{<prefix><id>}:ended` bars its id after log-out. */
export function createRedisSessions({ redis, prefix = 'session:', ...options }: RedisSessionsOptions): SessionStore {
  const { idleMs, barredMs } = { ...sessionDefaults, ...options }
  const client = createClient(redis, prefix, idleMs, barredMs)
  // A function: otherwise a record lives as long as its cookie, which outlives the idle time.
  const store = new RedisStore({ client, prefix, ttl: () => Math.ceil(idleMs / 1000), scanCount: 1000 })
  // With a `touch`, express-session would hold back the last byte of every answer until Redis has replied.
  Object.assign(store, { touch: undefined })
  return { scope: 'cluster', store }
}

const endedRecord = JSON.stringify(endedSession)

const read = createScript(`
local record = redis.call('GET', KEYS[1])
if record then
  if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
  return record
end
return redis.call('EXISTS', KEYS[2]) == 1 and ARGV[3]
`)

const save = createScript(`
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
`)

const end = createScript(`
redis.call('SET', KEYS[2], '', 'PX', ARGV[1])
return redis.call('DEL', KEYS[1])
`)

/** The six calls of node-redis that connect-redis makes, over ioredis: given ioredis itself, it fails at every write. */
function createClient(redis: Redis, prefix: string, idleMs: number, barredMs: number) {
  const record = (key: string) => `{${key}}`
  const ended = (key: string) => `{${key}}:ended`
  return {
    get(key: string) {
      return read.run(redis, [record(key), ended(key)], [idleMs, Math.floor(idleMs * 0.9), endedRecord])
    },
    set: (key: string, value: string) => save.run(redis, [record(key), ended(key)], [value, idleMs]),
    expire: (key: string, seconds: number) => redis.expire(record(key), seconds),
    del: (keys: string[]) => Promise.all(keys.map((key) => end.run(redis, [record(key), ended(key)], [barredMs]))),
    mGet: (keys: string[]) => Promise.all(keys.map((key) => redis.get(record(key)))),
    // Walks the whole keyspace: for tests and operators, never within a request.
    async *scanIterator({ COUNT }: { COUNT: number }) {
      let cursor = '0'
      do {
        const [next, found] = await redis.scan(cursor, 'MATCH', `{${prefix}*}`, 'COUNT', COUNT)
        cursor = next
        yield found.map((key) => key.slice(1, -1))
      } while (cursor !== '0')
    },
  }
}
