import { RedisStore } from 'connect-redis'
import type { Redis } from 'ioredis'
import { createScript } from '../redis/script.ts'
import { createRedisList } from './redis-list.ts'
import { endedSession, type SessionStore, type SessionStoreOptions, sessionDefaults } from './sessions.ts'

export interface RedisSessionsOptions extends SessionStoreOptions {
  /** A connection of the role `request`. */
  redis: Redis
  prefix?: string
}

/** Sessions that every replica sees. A record lives at `{<prefix><id>}`; `{<prefix><id>}:ended` bars its id after log-out, and has the user who logged in with it. */
export function createRedisSessions({ redis, prefix = 'session:', ...options }: RedisSessionsOptions): SessionStore {
  const { idleMs, ...others } = { ...sessionDefaults, ...options }
  const client = createClient(redis, prefix, { idleMs, ...others })
  // A function: otherwise a record lives as long as its cookie, which outlives the idle time.
  const store = new RedisStore({ client, prefix, ttl: () => Math.ceil(idleMs / 1000), scanCount: 1000 })
  // With a `touch`, express-session would hold back the last byte of every answer until Redis has replied.
  Object.assign(store, { touch: undefined })
  const recordOf = (id: string) => `{${prefix}${id}}`
  const end = (id: string) => client.del([`${prefix}${id}`])
  const ofUser = createRedisList({ redis, prefix, recordOf, end }, { idleMs, ...others })
  return { scope: 'cluster', store, claim: client.claim, ofUser }
}

const endedRecord = JSON.stringify(endedSession)

// ARGV: idle time with a user, idle time of a visitor, what an ended session reads as.
const read = createScript(`
local record = redis.call('GET', KEYS[1])
if record then
  local idle = string.find(record, '"userId"', 1, true) and ARGV[1] or ARGV[2]
  if redis.call('PTTL', KEYS[1]) < idle * 0.9 then redis.call('PEXPIRE', KEYS[1], idle) end
  return record
end
return redis.call('EXISTS', KEYS[2]) == 1 and ARGV[3]
`)

const save = createScript(`
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
`)

// ARGV: how long its id is barred, who logs in with it. Returns 1 when what is kept beside it goes to that user.
const end = createScript(`
if redis.call('DEL', KEYS[1]) == 1 then
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[1])
  return 1
end
local owner = redis.call('GET', KEYS[2])
redis.call('SET', KEYS[2], owner or '', 'PX', ARGV[1])
return owner and owner ~= '' and owner == ARGV[2] and 1 or 0
`)

/** The six calls of node-redis that connect-redis makes, over ioredis: given ioredis itself, it fails at every write. */
function createClient(redis: Redis, prefix: string, times: Omit<typeof sessionDefaults, 'maxPerUser'>) {
  const { idleMs, visitorIdleMs, barredMs } = times
  const record = (key: string) => `{${key}}`
  const ended = (key: string) => `{${key}}:ended`
  return {
    get(key: string) {
      return read.run(redis, [record(key), ended(key)], [idleMs, visitorIdleMs, endedRecord])
    },
    set: (key: string, value: string) =>
      save.run(redis, [record(key), ended(key)], [value, value.includes('"userId"') ? idleMs : visitorIdleMs]),
    expire: (key: string, seconds: number) => redis.expire(record(key), seconds),
    del: (keys: string[]) => Promise.all(keys.map((key) => end.run(redis, [record(key), ended(key)], [barredMs, '']))),
    async claim(id: string, userId: string) {
      const key = prefix + id
      return (await end.run(redis, [record(key), ended(key)], [barredMs, userId])) === 1
    },
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
