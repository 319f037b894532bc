import type { Redis } from 'ioredis'
import { kitErrors } from '../errors/errors.ts'
import { createScript } from '../redis/script.ts'
import type { sessionDefaults } from './sessions.ts'
import { handleOf, type ListedSession, type UserSessions } from './user-sessions.ts'

export interface RedisListOptions {
  redis: Redis
  /** The user's list is the hash `<prefix>of:{<user>}`: handle → when the session began, and its entry as JSON. */
  prefix: string
  /** The key of a session's record. */
  recordOf(id: string): string
  /** Ends a session's record, and bars its id. */
  end(id: string): Promise<unknown>
}

type Times = Pick<typeof sessionDefaults, 'idleMs' | 'absoluteLifetimeMs' | 'maxPerUser' | 'barredMs'>

// When all sessions of the user were ended last. No handle is like it.
const endedField = '*'

// ARGV: handle, value, when it began, longest life, most sessions, whether it is adopted. Returns the list if it is too long, or
// nil when the session may not be listed.
const add = createScript(`
local ended = redis.call('HGET', KEYS[1], '${endedField}')
if ARGV[6] == '1' and ended and tonumber(ended) >= tonumber(ARGV[3]) then return false end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
if redis.call('HLEN', KEYS[1]) <= tonumber(ARGV[5]) then return {} end
return redis.call('HVALS', KEYS[1])
`)

// ARGV: now, longest life. Returns the list.
const markEnded = createScript(`
redis.call('HSET', KEYS[1], '${endedField}', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('HVALS', KEYS[1])
`)

/** The list is in another slot of a Redis Cluster than the records: no script has both. */
export function createRedisList({ redis, prefix, recordOf, end }: RedisListOptions, times: Times): UserSessions {
  const { idleMs, absoluteLifetimeMs, maxPerUser, barredMs } = times
  const keyOf = (userId: string) => `${prefix}of:{${userId}}`
  const put = async (userId: string, { createdAt, ...rest }: ListedSession, isAdopted: 0 | 1) => {
    const value = `${createdAt} ${JSON.stringify(rest)}`
    const args = [handleOf(rest.id), value, createdAt, absoluteLifetimeMs, maxPerUser, isAdopted]
    const listed = (await add.run(redis, [keyOf(userId)], args)) as string[] | null
    await endOldest(userId, toSessions(listed ?? []))
    return listed !== null
  }
  /** Ends what is beyond the limit. Those that are over do not count. */
  const endOldest = async (userId: string, listed: ListedSession[]) => {
    if (listed.length <= maxPerUser) return
    const { gone } = await withoutOver(userId, listed)
    const left = listed.filter((session) => !gone.includes(session)).sort((a, b) => a.createdAt - b.createdAt)
    await endThese(userId, left.slice(0, Math.max(0, left.length - maxPerUser)))
  }
  /**
   * Their records first: what fails in between stays in the list, and can be ended again. Nothing waits for the list itself: a session
   * that is over is not shown, and leaves the list later if this command is lost.
   */
  const endThese = async (userId: string, sessions: ListedSession[]) => {
    if (sessions.length === 0) return
    await Promise.all(sessions.map(({ id }) => end(id)))
    redis.hdel(keyOf(userId), ...sessions.map(({ id }) => handleOf(id))).catch(() => undefined)
  }
  /** Reads how long each has left, and takes those that are over from the list. */
  const withoutOver = async (userId: string, listed: ListedSession[]) => {
    const left = await Promise.all(listed.map(({ id }) => redis.pttl(recordOf(id))))
    const now = Date.now()
    // A young one may be about to be saved.
    const gone = listed.filter(({ createdAt }, i) => (left[i] ?? 0) < 0 && createdAt < now - barredMs)
    if (gone.length > 0) await redis.hdel(keyOf(userId), ...gone.map(({ id }) => handleOf(id)))
    return { gone, left, now }
  }
  const list = async (userId: string) => {
    const listed = toSessions(await redis.hvals(keyOf(userId)))
    const { left, now } = await withoutOver(userId, listed)
    const seen = listed.map((session, i) => ({
      ...session,
      lastSeenAt: Math.min(now, Math.max(session.createdAt, now - (idleMs - (left[i] ?? 0)))),
    }))
    return seen.filter((_, i) => (left[i] ?? 0) >= 0)
  }
  const endOne = async (userId: string, handle: string) => {
    const value = await redis.hget(keyOf(userId), handle)
    const [session] = toSessions(value === null ? [] : [value])
    if (session) await endThese(userId, [session])
    return session
  }
  const endAll = async (userId: string, exceptId?: string) => {
    const values = (await markEnded.run(redis, [keyOf(userId)], [Date.now(), absoluteLifetimeMs])) as string[]
    const others = toSessions(values).filter(({ id }) => id !== exceptId)
    await endThese(userId, others)
    return others
  }
  return {
    add: async (userId, session) => void (await available(put(userId, session, 0))),
    adopt: (userId, session) => available(put(userId, session, 1)),
    list: (userId) => available(list(userId)),
    forget: async (userId, id) => void (await available(redis.hdel(keyOf(userId), handleOf(id)))),
    end: (userId, handle) => available(endOne(userId, handle)),
    endAll: (userId, exceptId) => available(endAll(userId, exceptId)),
  }
}

async function available<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (cause) {
    throw kitErrors.E_REDIS_UNAVAILABLE({ cause, retryAfterMs: 1000 })
  }
}

function toSessions(values: string[]): ListedSession[] {
  return values.flatMap((value) => {
    const [, createdAt, json] = /^(\d+) (.*)$/s.exec(value) ?? []
    return json === undefined ? [] : [{ ...JSON.parse(json), createdAt: Number(createdAt) }]
  })
}
