import type { Redis } from 'ioredis'
import { createScript } from '../redis/script.ts'

// One hash for each key. v = version; and for each form of the value (two versions of the code may have two): d = JSON, or empty for
// an absence; f = fresh until, u = usable until, by the clock of Redis. Without any d it is only the trace of an invalidation.
// The fill lock lies beside it, in the same slot of a cluster.

/**
 * KEYS entry, lock · ARGV token, lock ms, oldest version that will do, or empty, form
 * What is there, and the fill lock if that is old or missing and nobody else has it: one round trip for both.
 * Returns data or nil, version or nil, fresh for ms, and the lock: 1 = now ours, 0 = not needed, else its value.
 */
const read = createScript(`
local e = redis.call('HMGET', KEYS[1], 'd' .. ARGV[4], 'v', 'f' .. ARGV[4], 'u' .. ARGV[4])
local usable = e[1] and (ARGV[3] == '' or tonumber(e[2] or 0) >= tonumber(ARGV[3]))
local fresh = 0
if usable then
  local t = redis.call('TIME')
  local now = t[1] * 1000 + math.floor(t[2] / 1000)
  usable = tonumber(e[4]) > now
  fresh = tonumber(e[3]) - now
  if fresh > 0 then return {e[1], e[2], fresh, 0} end
end
local lock = 1
if not redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then lock = redis.call('GET', KEYS[2]) end
return {usable and e[1], e[2], fresh, lock}`)

/**
 * KEYS entry, lock · ARGV token, data, version or empty, fresh ms, stale ms, form, 1 if the source's versions went back
 * An older version never replaces a newer one, and a newer one drops what other forms have of the older. A process that lost the lock
 * may only bring a newer version: else an invalidation that came in the middle of the load would be undone.
 */
const fill = createScript(`
local have = redis.call('HGET', KEYS[1], 'v')
local mine = redis.call('GET', KEYS[2]) == ARGV[1]
local version = tonumber(ARGV[3] == '' and '0' or ARGV[3])
local newer = version > tonumber(have or 0) and (have or redis.call('EXISTS', KEYS[1]) == 0)
if mine then redis.call('DEL', KEYS[2]) end
local back = mine and ARGV[7] == '1'
if not back and not newer and not (mine and version >= tonumber(have or 0)) then return 0 end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local life = ARGV[4] + ARGV[5]
if back or version > tonumber(have or 0) then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'd' .. ARGV[6], ARGV[2], 'f' .. ARGV[6], now + ARGV[4], 'u' .. ARGV[6], now + life)
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'v', ARGV[3]) end
if redis.call('PTTL', KEYS[1]) < life then redis.call('PEXPIRE', KEYS[1], life) end
return 1`)

/**
 * KEYS entry, lock · ARGV version or empty, ms to remember it, channel, message
 * Takes the lock from a load that may have read the old value, and notifies every process.
 */
const invalidate = createScript(`
local have = redis.call('HGET', KEYS[1], 'v')
if ARGV[1] == '' or tonumber(have or 0) < tonumber(ARGV[1]) then
  local version = ARGV[1] ~= '' and ARGV[1] or have
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'i', 1)
  if version then redis.call('HSET', KEYS[1], 'v', version) end
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  redis.call('DEL', KEYS[2])
end
return redis.call('PUBLISH', ARGV[3], ARGV[4])`)

/** KEYS lock · ARGV token, ms, new value or empty: prolongs the lock, or leaves word in it of why the load failed. */
const hold = createScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[3] ~= '' then redis.call('SET', KEYS[1], ARGV[3]) end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])`)

export interface Found {
  /** `undefined`: nothing usable. */
  text: string | undefined
  version: number | undefined
  freshForMs: number
  /** Whether this reader is the one to fill; `failed`: the code with which another's load just failed. */
  lock: { mine: boolean; failed?: string }
}

export interface SharedTierOptions {
  redis: Redis
  prefix: string
  /** How long the fill lock outlives a process that died. */
  lockMs: number
  /** How long an invalidation is remembered without a new value: longer than any load. */
  traceMs: number
}

const failure = 'failed '

/** The tier that all replicas share: four scripts, each one round trip and atomic. */
export function createSharedTier({ redis, prefix, lockMs, traceMs }: SharedTierOptions) {
  const entryKey = (key: string) => `${prefix}:{${key}}`
  const lockKey = (key: string) => `${prefix}:{${key}}:fill`
  const keysOf = (key: string) => [entryKey(key), lockKey(key)]
  const channel = `${prefix}:invalidated`

  return {
    channel,
    async read(key: string, token: string, oldest: number | undefined, form: number): Promise<Found> {
      const answer = await read.run(redis, keysOf(key), [token, lockMs, oldest ?? '', form])
      const [text, version, fresh, lock] = answer as [string | null, string | null, number, string | number | null]
      return {
        text: text ?? undefined,
        version: version === null ? undefined : Number(version),
        freshForMs: fresh,
        lock: {
          mine: lock === 1,
          ...(typeof lock === 'string' && lock.startsWith(failure) && { failed: lock.slice(failure.length) }),
        },
      }
    },
    async fill(
      key: string,
      token: string,
      entry: { text: string; version?: number; wentBack: boolean; freshMs: number; staleMs: number; form: number },
    ) {
      const ms = [Math.max(Math.round(entry.freshMs), 0), Math.max(Math.round(entry.staleMs), 1)]
      await fill.run(redis, keysOf(key), [
        token,
        entry.text,
        entry.version ?? '',
        ...ms,
        entry.form,
        Number(entry.wentBack),
      ])
    },
    async invalidate(key: string, version: number | undefined) {
      const message = JSON.stringify(version === undefined ? [key] : [key, version])
      await invalidate.run(redis, keysOf(key), [version ?? '', traceMs, channel, message])
    },
    /** Entries are invalidated one by one, so that a load that is under way cannot bring back what it read before. */
    async invalidateAll() {
      let cursor = '0'
      do {
        const [next, found] = await redis.scan(cursor, 'MATCH', `${escapeGlob(prefix)}:{*}`, 'COUNT', 500)
        cursor = next
        await Promise.all(
          found.map((entry) => invalidate.run(redis, [entry, `${entry}:fill`], ['', traceMs, channel, '[]'])),
        )
      } while (cursor !== '0')
      await redis.publish(channel, '[]')
    },
    async prolong(key: string, token: string) {
      await hold.run(redis, [lockKey(key)], [token, lockMs, ''])
    },
    /** Those who wait for this load get its error instead of trying, one after the other, what cannot succeed. */
    async fail(key: string, token: string, code: string) {
      await hold.run(redis, [lockKey(key)], [token, code === '' ? 1 : 200, `${failure}${code}`])
    },
  }
}

const escapeGlob = (text: string) => text.replace(/[\\*?[\]]/g, '\\$&')
