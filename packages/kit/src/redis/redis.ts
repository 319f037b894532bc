import { Redis } from 'ioredis'
import type { Logger } from '../log/log.ts'
import { describeFailure } from './failure.ts'
import { startHeartbeat } from './heartbeat.ts'

/**
 * - `request`: within an HTTP request; fails in `timeoutMs` whatever happens, and never sends a command twice.
 * - `blocking`: commands that wait at the server (BullMQ's workers); waits for Redis to come back.
 * - `reader`: waits at the server, too, but fails without a connection. A command whose connection is lost is not sent again,
 *   and never settles: listen to `close`.
 * - `subscriber`: only listens. Its user subscribes on each `ready` (`listenTo`); messages sent meanwhile are lost.
 */
export type RedisRole = 'request' | 'blocking' | 'reader' | 'subscriber'

export interface RedisOptions {
  url: string
  role: RedisRole
  log: Logger
  /** Longest time that a command of the role `request` may take. */
  timeoutMs?: number
}

export interface RedisConnection extends Redis {
  /** `false` without a connection, and within a second on one that has gone silent; for a `reader` only once that was cut. */
  isAnswering(): boolean
  /** Calls `work` when the commands of this turn of the event loop are about to leave: what it sends leaves with them. */
  atTurnsEnd(work: () => void): void
}

/** Longest time that a command may wait at the server. Longer ones would look like a connection that has gone silent. */
export const longestBlockMs = 1500

// Less than a second more than the longest block: BullMQ gives up its own wait a second later, and would cut in between.
const silentMs = { request: 2000, subscriber: 2000, blocking: longestBlockMs + 800, reader: longestBlockMs + 800 }

/**
 * The one place that makes Redis connections: ioredis's own defaults let a request wait for more than a minute.
 * A connection from which nothing comes although something is due (no FIN, no RST: a dead host, a NAT that forgot it) is cut and
 * made again within four seconds, for every role; by default the operating system notices after a quarter of an hour.
 */
export function createRedis({ url, role, log, timeoutMs = 300 }: RedisOptions): RedisConnection {
  const redis = new Redis(url, {
    connectTimeout: 2000,
    socketTimeout: silentMs[role],
    disconnectTimeout: 500, // a silent connection never confirms its end
    retryStrategy: (tries) => Math.min(50 * 2 ** Math.min(tries, 6), 1000) + Math.random() * 100,
    // After a failover the old primary answers READONLY: reconnect, to the current primary.
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
          enableOfflineQueue: role !== 'reader', // each try of an outage would wait there, and then at the server
          autoResubscribe: false, // its rejection would be unhandled
        }),
  })
  const atTurnsEnd = role === 'request' ? writeOncePerTurn(redis) : setImmediate
  // A reader waits at the server all the time: its answers are its heartbeat.
  const { isAnswering } = role === 'reader' ? { isAnswering: () => redis.status === 'ready' } : startHeartbeat(redis)
  let reported: string | undefined
  redis.on('error', (err) => {
    const { reason, isRefusal } = describeFailure(err)
    if (reported === reason) return // once per outage and reason, not once per try
    reported = reason
    if (isRefusal) log.error({ err, role, reason }, 'redis refuses this process')
    else log.warn({ err, role, reason }, 'redis is unreachable')
  })
  redis.on('ready', () => {
    if (reported !== undefined) log.info({ role }, 'redis is reachable again')
    reported = undefined
  })
  return Object.assign(redis, { isAnswering, atTurnsEnd })
}

export interface Listener {
  /** A connection of the role `subscriber`. */
  subscriber: Redis
  channel: string
  onMessage(message: string): void
  /** Each time that it begins to hear, the first included: what was said before is lost. */
  onListening(): void
}

/** Returns a function that stops it. Subscribes again whenever the connection is new, and goes on trying when that fails. */
export function listenTo({ subscriber, channel, onMessage, onListening }: Listener): () => void {
  let timer: NodeJS.Timeout | undefined
  let stopped = false
  const hear = (from: string, message: string) => {
    if (from === channel) onMessage(message)
  }
  const subscribe = () => {
    clearTimeout(timer)
    if (stopped) return
    subscriber.subscribe(channel).then(onListening, () => {
      if (subscriber.status === 'ready') timer = setTimeout(subscribe, 500).unref()
    })
  }
  subscriber.on('message', hear).on('ready', subscribe)
  if (subscriber.status === 'ready') subscribe()
  return () => {
    stopped = true
    clearTimeout(timer)
    subscriber.off('message', hear).off('ready', subscribe)
  }
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

/**
 * Commands of one turn of the event loop leave in one write: fewer system calls here and fewer reads at the server. ioredis's
 * own auto-pipelining holds commands back until the batch before them is answered, which is a second wait for a busy replica.
 */
function writeOncePerTurn(redis: Redis): RedisConnection['atTurnsEnd'] {
  const { sendCommand } = redis
  const works: (() => void)[] = []
  let corked: Redis['stream'] | undefined
  let isPlanned = false
  const endTurn = () => {
    for (const work of works.splice(0)) work()
    isPlanned = false
    corked?.uncork()
    corked = undefined
  }
  const planEnd = () => {
    if (!isPlanned) setImmediate(endTurn)
    isPlanned = true
  }
  redis.sendCommand = (command, stream) => {
    const socket = redis.stream
    if (socket && socket !== corked) {
      corked?.uncork()
      corked = socket
      socket.cork()
      planEnd()
    }
    return sendCommand.call(redis, command, stream)
  }
  return (work) => {
    works.push(work)
    planEnd()
  }
}
