import type { Redis } from 'ioredis'
import { bootErrors } from '../errors/errors.ts'
import type { Logger } from '../log/log.ts'

export interface RedisFacts {
  /** `noeviction` keeps everything that was written; anything else deletes what somebody still needs when memory is full. */
  evictionPolicy: string
  /** Whether a restart keeps what was written. */
  appendOnly: boolean
}

/** From `INFO`, which managed services allow where they forbid `CONFIG`. */
export async function readRedisFacts(redis: Redis): Promise<RedisFacts> {
  const info = await redis.info()
  const field = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? ''
  return { evictionPolicy: field('maxmemory_policy'), appendOnly: field('aof_enabled') === '1' }
}

export interface StateRedis {
  /** Throws `E_REDIS_EVICTS` if Redis answers and may delete state; resolves when it is away, for that is no reason not to start. */
  check(): Promise<void>
  /** The same as words, for `/readyz`; looked up again at each connection, since a failover can lead to another server. */
  problem(): string | undefined
}

/** Watches the Redis that keeps sessions, queue and locks. `strict: false` (development) only warns. */
export function watchStateRedis(redis: Redis, { log, strict }: { log: Logger; strict: boolean }): StateRedis {
  let problem: string | undefined
  const look = async () => {
    const { evictionPolicy, appendOnly } = await readRedisFacts(redis)
    if (!appendOnly)
      log.warn('the state redis has no append-only file: a restart logs everybody out and forgets the queue')
    const found =
      evictionPolicy === 'noeviction'
        ? undefined
        : `its maxmemory-policy is ${evictionPolicy}, not noeviction: it may delete sessions and jobs; see docs/problems/eviction.md`
    if (found) log.warn({ evictionPolicy }, 'the state redis may delete what must not be lost')
    problem = strict ? found : undefined
  }
  redis.on('ready', () => void look().catch((err) => log.warn({ err }, 'could not look at the state redis')))
  return {
    async check() {
      if (redis.status !== 'ready') return
      await look().catch((err) => log.warn({ err }, 'could not look at the state redis'))
      if (problem) throw bootErrors.E_REDIS_EVICTS({ detail: `REDIS_URL: ${problem}` })
    },
    problem: () => problem,
  }
}
