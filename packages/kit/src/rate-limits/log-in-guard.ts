import type { Redis } from 'ioredis'
import { kitErrors } from '../errors/errors.ts'
import { createScript } from '../redis/script.ts'

export interface LogInGuardOptions {
  /** A connection of the role `request`. */
  redis: Redis
  prefix?: string
  /** Failures of one account in `windowMs`. Default: 100 in an hour. */
  limit?: number
  windowMs?: number
  /** How long an address counts as known after a log-in. Default: 30 days. */
  knownMs?: number
}

export interface LogInTry {
  /** The account's name, in a form that may be stored. */
  account: string
  address: string
  /** A device that has shown that it logged in to this account before. */
  device?: string
}

export interface LogInAttempt {
  /** The password was right: the address is known from now on, and this was no failure. */
  succeeded(): Promise<void>
  /** The password was not looked at: this was no failure. */
  giveBack(): Promise<void>
}

/**
 * Bounds how many wrong passwords an account can be sent from all addresses together. A device or address that logged in
 * before has a count of its own, so that strangers cannot lock the owner out.
 */
export interface LogInGuard {
  /** Counts a failure in advance. Throws `E_RATE_LIMITED` (429), or `E_REDIS_UNAVAILABLE` when it cannot count. */
  begin(attempt: LogInTry): Promise<LogInAttempt>
  /** Forgets the addresses that logged in to an account which is deleted. Throws `E_REDIS_UNAVAILABLE`. */
  forget(account: string): Promise<void>
}

// Addresses that are remembered for one account; the oldest go first.
const maxKnown = 20

/** Everything about one account is in one slot of a Redis Cluster. Throws `E_REDIS_UNAVAILABLE`. */
export function createLogInGuard(options: LogInGuardOptions): LogInGuard {
  const { redis, prefix = 'log-in:', limit = 100, windowMs = 3_600_000, knownMs = 30 * 24 * 3_600_000 } = options
  return {
    async forget(account) {
      await available(redis.del(`${prefix}{${account}}:known`))
    },
    async begin({ account, address, device }) {
      const base = `${prefix}{${account}}:`
      const strangers = `${base}failures`
      const own = `${base}failures:${device === undefined ? `address:${address}` : `device:${device}`}`
      const known = `${base}known`
      const reply = await available(
        begin.run(redis, [strangers, own, known], [limit, windowMs, knownMs, address, device === undefined ? 0 : 1]),
      )
      const [waitMs, isKnown] = reply as [number, number]
      if (waitMs > 0) throw kitErrors.E_RATE_LIMITED({ retryAfterMs: Math.max(1000, waitMs) })
      const counted = isKnown === 1 ? own : strangers
      return {
        async succeeded() {
          await available(succeed.run(redis, [counted, known], [address, knownMs, maxKnown]))
        },
        async giveBack() {
          await available(giveBack.run(redis, [counted], []))
        },
      }
    },
  }
}

const now = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)`

// KEYS: failures of strangers, failures of this device or address, known addresses.
// ARGV: limit, window, how long an address is known, address, whether the device is known. Returns a wait and who was counted.
const begin = createScript(`${now}
local known = tonumber(ARGV[5])
if known == 0 then
  local at = redis.call('ZSCORE', KEYS[3], ARGV[4])
  if at and tonumber(at) > now - tonumber(ARGV[3]) then known = 1 end
end
local key = known == 1 and KEYS[2] or KEYS[1]
local failures = tonumber(redis.call('GET', key) or 0)
if failures >= tonumber(ARGV[1]) then return { math.max(1, redis.call('PTTL', key)), known } end
if redis.call('INCR', key) == 1 then redis.call('PEXPIRE', key, ARGV[2]) end
return { 0, known }
`)

const giveBackOne = `
if tonumber(redis.call('GET', KEYS[1]) or 0) > 0 then redis.call('DECR', KEYS[1]) end`

const giveBack = createScript(`${giveBackOne}
return 1
`)

const succeed = createScript(`${now}
${giveBackOne}
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], 0, now - tonumber(ARGV[2]))
redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -tonumber(ARGV[3]) - 1)
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
`)

async function available<T>(command: Promise<T>): Promise<T> {
  try {
    return await command
  } catch (cause) {
    throw kitErrors.E_REDIS_UNAVAILABLE({ cause, retryAfterMs: 1000 })
  }
}
