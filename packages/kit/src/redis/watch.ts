import { setTimeout as wait } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import type { AppError } from '../errors/app-error.ts'
import { bootErrors } from '../errors/errors.ts'
import type { Logger } from '../log/log.ts'
import { describeFailure } from './failure.ts'

export interface RedisFacts {
  /** `noeviction` keeps everything that was written; anything else deletes data that is still needed when memory is full. */
  evictionPolicy: string
  /** Whether a restart keeps what was written. */
  appendOnly: boolean
  /** `standalone`, `cluster` or `sentinel`. */
  mode: string
  usedBytes: number
  /** A replica of another server, which refuses every write. */
  readOnly: boolean
  /** 0: none, so that it grows until the machine runs out of memory. */
  maxBytes: number
}

/** From `INFO`, which managed services allow where they forbid `CONFIG`. */
export async function readRedisFacts(redis: Redis): Promise<RedisFacts> {
  const info = await redis.info()
  const field = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1]
  const mode =
    field('cluster_enabled') === '1' ? 'cluster' : (field('redis_mode') ?? field('server_mode') ?? 'standalone')
  return {
    evictionPolicy: field('maxmemory_policy') ?? '',
    appendOnly: field('aof_enabled') === '1',
    mode,
    readOnly: field('slave_read_only') === '1',
    usedBytes: Number(field('used_memory')),
    maxBytes: Number(field('maxmemory')),
  }
}

export interface RedisWatch {
  /**
   * Waits until the server was reached for the first time, or until the signal. Throws `E_REDIS_UNSUPPORTED`, `E_REDIS_PERMISSION`
   * or `E_REDIS_EVICTS` if that server is not one to start with.
   */
  check(signal: AbortSignal): Promise<void>
  /**
   * The same as words, for `/readyz`, and why it was never reached; looked up again at each connection, since a failover can lead
   * to another server. `undefined` during an outage that comes later.
   */
  problem(): string | undefined
}

export interface RedisWatchOptions {
  /** The variable that names the server. */
  variable: string
  log: Logger
  /** Whether it keeps sessions, queue and locks, or may forget. */
  keepsState: boolean
  /** `false` (development) only warns of a server that may delete state. */
  strict: boolean
}

class ReadOnly extends Error {}

const retryMs = 500

/** Finds out what kind of server this is: one that the kit cannot work with must not look like an outage. */
export function watchRedis(redis: Redis, { variable, log, keepsState, strict }: RedisWatchOptions): RedisWatch {
  let failure = 'no answer yet'
  let reached = false
  let found: AppError | undefined
  let noDatabase = false

  const look = async (): Promise<AppError | undefined> => {
    const { evictionPolicy, appendOnly, mode, maxBytes, readOnly } = await readRedisFacts(redis)
    if (mode !== 'standalone') {
      const detail = `${variable} leads to a ${mode === 'sentinel' ? 'Sentinel' : 'node of a Redis Cluster'}, which is not supported: give it the address of one primary; see docs/redis.md`
      return bootErrors.E_REDIS_UNSUPPORTED({ detail })
    }
    // ioredis goes on with number 0, where other data may be.
    if (noDatabase) {
      return bootErrors.E_REDIS_UNSUPPORTED({
        detail: `${variable} names a numbered database that this server does not have`,
      })
    }
    if (!keepsState) return
    // As long as a failover lasts, the address may lead to the old primary.
    if (readOnly && !reached) throw new ReadOnly()
    if (!appendOnly)
      log.warn('the state redis has no append-only file: a restart logs out all users and loses the queue')
    if (maxBytes === 0) log.warn('the state redis has no maxmemory: it grows until the machine runs out of memory')
    if (evictionPolicy === 'noeviction') return
    log.warn({ evictionPolicy }, 'the state redis may evict data that must not be lost')
    const detail = `${variable}: its maxmemory-policy is ${evictionPolicy}, not noeviction: it may delete sessions and jobs; see docs/problems/eviction.md`
    return strict ? bootErrors.E_REDIS_EVICTS({ detail }) : undefined
  }
  const lookAgain = async () => {
    try {
      found = await look()
    } catch (err) {
      if (err instanceof ReadOnly) {
        failure = 'it is a read-only replica of another server'
        return void setTimeout(() => redis.disconnect(true), retryMs).unref()
      }
      const mayNot = err instanceof Error && err.message.startsWith('NOPERM')
      if (mayNot && keepsState)
        found = bootErrors.E_REDIS_PERMISSION({
          detail: `${variable}: its user may not run INFO; docs/redis.md lists the commands that are needed`,
        })
      else log.warn({ err, variable }, 'could not inspect redis')
    }
    if (found) log.error({ err: found, variable }, 'redis cannot be used')
    reached = true
  }
  redis.on('error', (error) => {
    failure = describeFailure(error).reason
    noDatabase ||= /invalid DB index|DB index is out of range/.test(error.message)
  })
  redis.on('ready', () => void lookAgain())
  if (redis.status === 'ready') void lookAgain()

  return {
    async check(signal) {
      while (!reached && !signal.aborted) await wait(20, undefined, { signal }).catch(() => undefined)
      if (found) throw found
    },
    problem: () => (reached ? found?.detail : `${variable} was never reached: ${failure}`),
  }
}
