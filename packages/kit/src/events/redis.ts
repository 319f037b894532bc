import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import { kitErrors } from '../errors/errors.ts'
import type { Logger } from '../log/log.ts'
import { longestBlockMs } from '../redis/redis.ts'
import { type EventPublisher, type Events, hasGap, isAfter, type LiveEvent, type SubscribeOptions } from './events.ts'

export interface RedisPublisherOptions {
  /** A connection of the role `request`. */
  redis: Redis
  prefix?: string
  /** About how many events of each channel are kept. */
  maxHistory?: number
  /** How long the history of a quiet channel is kept. */
  keepMs?: number
}

export interface RedisEventsOptions extends RedisPublisherOptions {
  /** A connection of the role `reader`, used for nothing else because it blocks at the server all the time. Closed by `stop`. */
  reader: Redis
  log: Logger
  /** Longest wait at the server; at most `longestBlockMs`, its default. */
  blockMs?: number
}

interface Listener extends SubscribeOptions {
  lastId: string
  /** What came while the history was read. */
  early: LiveEvent[] | undefined
}

interface Channel {
  /** Up to where the reader has read; `undefined` until the first history is there. */
  position: string | undefined
  listeners: Set<Listener>
}

type Entry = [id: string, fields: string[]]

/** Each event is held in Redis, and in every process with a listener: it is no place for files. */
const maxEventBytes = 65_536
const defaultPrefix = 'escala:{events}'

const safely = <T>(work: Promise<T>) =>
  work.catch((cause) => {
    throw kitErrors.E_REDIS_UNAVAILABLE({ cause, retryAfterMs: 1000 })
  })

/** For a process without listeners: one round trip for each event. */
export function createRedisPublisher(options: RedisPublisherOptions): EventPublisher {
  const { redis, prefix = defaultPrefix, maxHistory = 1000, keepMs = 3_600_000 } = options
  return {
    async publish(channel, { type, data }) {
      const stream = `${prefix}:${channel}`
      const text = JSON.stringify(data ?? null)
      if (Buffer.byteLength(text) > maxEventBytes) {
        throw new RangeError(`an event of ${channel} has more than ${maxEventBytes} bytes: publish where its data is`)
      }
      const fields = ['t', type, 'd', text]
      const batch = redis
        .multi()
        .xadd(stream, 'MAXLEN', '~', maxHistory, '*', ...fields)
        .pexpire(stream, keepMs)
      const [added] = (await safely(batch.exec())) ?? []
      if (typeof added?.[1] !== 'string') throw kitErrors.E_REDIS_UNAVAILABLE({ cause: added?.[0], retryAfterMs: 1000 })
      return added[1]
    },
  }
}

/**
 * A stream for each channel. One reader in each process waits for all channels that have listeners here, however many
 * clients there are; a stream of the process's own wakes it when it must wait for one channel more.
 * Publishing costs one round trip, subscribing two.
 */
export function createRedisEvents(options: RedisEventsOptions): Events {
  const { redis, reader, log, prefix = defaultPrefix, blockMs = longestBlockMs } = options
  const channels = new Map<string, Channel>()
  const streamOf = (channel: string) => `${prefix}:${channel}`
  const bell = `${prefix}:bell:${randomUUID()}`
  let bellPosition = '0-0'
  let stopped = false
  let mayHaveMissed = false
  reader.on('ready', () => {
    mayHaveMissed = true // events, if Redis lost data or took in too many of them meanwhile
  })

  const ring = async () => {
    await redis.multi().xadd(bell, 'MAXLEN', 1, '*', 'ring', '').pexpire(bell, 60_000).exec()
  }

  const ends = async (connection: Redis, channel: string) => {
    const [first, last] = await Promise.all([
      connection.xrange(streamOf(channel), '-', '+', 'COUNT', 1),
      connection.xrevrange(streamOf(channel), '+', '-', 'COUNT', 1),
    ])
    return { first: first[0]?.[0], last: last[0]?.[0] }
  }

  /** One entry that cannot be read must not cost the others of its batch. */
  const readEvents = (entries: Entry[]) =>
    entries.flatMap((entry) => {
      try {
        return [toEvent(entry)]
      } catch (err) {
        log.warn({ err, id: entry[0] }, 'an event cannot be read')
        return []
      }
    })

  const deliver = (listener: Listener, event: LiveEvent) => {
    if (!isAfter(event.id, listener.lastId)) return
    if (listener.early) return void listener.early.push(event)
    listener.lastId = event.id
    listener.onEvent(event)
  }

  const untilClosed = async <T>(work: Promise<T>): Promise<T> => {
    const closed = Promise.withResolvers<never>()
    const close = () => closed.reject(new Error('connection lost'))
    reader.once('close', close)
    return Promise.race([work, closed.promise]).finally(() => reader.off('close', close))
  }

  const checkForGaps = async () => {
    for (const [name, channel] of channels) {
      if (channel.position === undefined || channel.position === '0-0') continue
      const { first, last } = await untilClosed(ends(reader, name))
      if (!hasGap(channel.position, first, last)) continue
      channel.position = last ?? '0-0'
      for (const listener of channel.listeners) {
        listener.lastId = channel.position
        listener.onGap(channel.position)
      }
    }
  }

  const readOnce = async () => {
    const watched = [...channels].filter(([, { position }]) => position !== undefined)
    const keys = [bell, ...watched.map(([name]) => streamOf(name))]
    const positions = [bellPosition, ...watched.map(([, { position }]) => position as string)]
    const startedAt = performance.now()
    // A server that hangs never answers: then the socket's timeout closes the connection.
    const answer = await untilClosed(reader.xread('COUNT', 1000, 'BLOCK', blockMs, 'STREAMS', ...keys, ...positions))
    // This process stood still for longer than the server can have made it wait.
    if (performance.now() - startedAt > blockMs + 1000) mayHaveMissed = true
    for (const [key, entries] of (answer ?? []) as [string, Entry[]][]) {
      const last = entries.at(-1)?.[0]
      if (last === undefined) continue
      if (key === bell) bellPosition = last
      const channel = channels.get(key.slice(prefix.length + 1))
      if (!channel) continue
      channel.position = last
      for (const event of readEvents(entries)) for (const listener of channel.listeners) deliver(listener, event)
    }
  }

  const loop = async () => {
    let failing = false
    while (!stopped) {
      if (reader.status !== 'ready') {
        await wait(50)
        continue
      }
      try {
        if (mayHaveMissed) {
          mayHaveMissed = false
          await checkForGaps()
        }
        if (failing) log.info('event reader recovered')
        failing = false
        await readOnce()
      } catch (err) {
        if (stopped) return
        if (!failing) log.warn({ err }, 'event reader failed') // once per outage, not once per try
        failing = true
        mayHaveMissed = true
        await wait(200)
      }
    }
  }

  const readHistory = async (name: string, channel: Channel, listener: Listener) => {
    const { afterId } = listener
    const [{ first, last }, missed] = await Promise.all([
      ends(redis, name),
      afterId === undefined ? [] : redis.xrange(streamOf(name), `(${afterId}`, '+'),
    ])
    if (channel.position === undefined) {
      channel.position = last ?? '0-0'
      await ring()
    }
    const early = listener.early ?? []
    listener.early = undefined
    if (afterId === undefined) listener.lastId = last ?? '0-0'
    else if (hasGap(afterId, first, last)) {
      listener.lastId = last ?? '0-0'
      listener.onGap(listener.lastId)
    } else for (const event of readEvents(missed)) deliver(listener, event)
    for (const event of early) deliver(listener, event)
  }

  const loops = loop()

  return {
    scope: 'cluster',
    ...createRedisPublisher(options),
    async subscribe(name, options) {
      const channel = channels.get(name) ?? { position: undefined, listeners: new Set() }
      channels.set(name, channel)
      const listener: Listener = { ...options, lastId: options.afterId ?? '0-0', early: [] }
      channel.listeners.add(listener)
      const stop = () => {
        channel.listeners.delete(listener)
        if (channel.listeners.size === 0 && channels.get(name) === channel) channels.delete(name)
      }
      try {
        await safely(readHistory(name, channel, listener))
      } catch (error) {
        stop()
        throw error
      }
      return { id: listener.lastId, stop }
    },
    async stop() {
      stopped = true
      channels.clear()
      reader.disconnect()
      await loops
    },
  }
}

function toEvent([id, fields]: Entry): LiveEvent {
  const [, type = '', , data = 'null'] = fields
  return { id, type, data: JSON.parse(data) }
}
