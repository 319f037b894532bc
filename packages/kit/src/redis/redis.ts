import { Redis } from 'ioredis'
import type { Logger } from '../log/log.ts'

/**
 * - `request`: within an HTTP request; fails in `timeoutMs` whatever happens, and never sends a command twice.
 * - `blocking`: commands that wait at the server (BullMQ's workers); waits for Redis to come back.
 * - `reader`: the same, but a command whose connection is lost is not sent again, and never settles: listen to `close`.
 * - `subscriber`: only listens; subscribes again after a reconnect.
 */
export type RedisRole = 'request' | 'blocking' | 'reader' | 'subscriber'

export interface RedisOptions {
  url: string
  role: RedisRole
  log: Logger
  /** Longest time that a command of the role `request` may take. */
  timeoutMs?: number
}

/** The one place that makes Redis connections: ioredis's own defaults let a request wait for more than a minute. */
export function createRedis({ url, role, log, timeoutMs = 300 }: RedisOptions): Redis {
  const redis = new Redis(url, {
    connectTimeout: 2000,
    retryStrategy: (tries) => Math.min(50 * 2 ** Math.min(tries, 6), 1000) + Math.random() * 100,
    // After a failover the old primary answers READONLY: connect again, to whoever is the primary now.
    reconnectOnError: (error) => error.message.startsWith('READONLY'),
    ...(role === 'request'
      ? {
          commandTimeout: timeoutMs,
          maxRetriesPerRequest: 1,
          enableOfflineQueue: false,
          // A command whose answer was lost may have run. Sent again, it would count twice.
          autoResendUnfulfilledCommands: false,
        }
      : {
          maxRetriesPerRequest: null,
          enableReadyCheck: role !== 'subscriber',
          autoResendUnfulfilledCommands: role !== 'reader',
        }),
  })
  let reported = false
  redis.on('error', (err) => {
    if (reported) return // once per outage, not once per try
    reported = true
    log.warn({ err, role }, 'redis is unreachable')
  })
  redis.on('ready', () => {
    if (reported) log.info({ role }, 'redis is back')
    reported = false
  })
  return redis
}

/** Ends a connection politely where the server answers, and at once where it does not. */
export async function stopRedis(redis: Redis): Promise<void> {
  if (redis.status === 'end') return
  if (redis.status === 'ready') {
    const timer = setTimeout(() => redis.disconnect(), 500)
    await redis.quit().catch(() => undefined)
    clearTimeout(timer)
  }
  redis.disconnect()
}
