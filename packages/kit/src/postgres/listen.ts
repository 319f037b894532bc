import { setTimeout as wait } from 'node:timers/promises'
import pg from 'pg'
import type { Logger } from '../log/log.ts'
import { BoundedClient } from './client.ts'
import { type Connections, createConnections } from './connections.ts'
import { isReadOnly, isShutdown } from './failures.ts'

export interface Listener {
  start(): void
  stop(): Promise<void>
}

export interface ListenerOptions {
  /** Address of the server itself: a pooler in transaction mode drops subscriptions. One connection beside the pool's. */
  url: string
  applicationName: string
  log: Logger
  /** Channel → what to do with a message. A message sent while the connection is down never arrives, so poll as well. */
  channels: Record<string, (payload: string) => void>
  /** After each (re)connect: whatever was kept from messages may be stale. */
  onConnect?(): void
  /** What the connections of this process share; default: nothing but this one. */
  connections?: Connections
  /** How often the server is asked whether the connection still works. */
  beatMs?: number
  /**
   * Greatest age of the connection; it is replaced after 80 to 100 % of it. LISTEN and an empty query succeed on a server that
   * was replaced without ending its connections, so nothing else would ever leave it. Default: five minutes.
   */
  lifetimeMs?: number
  /** First wait after a lost connection; doubles up to twenty times as long, with jitter. */
  retryMs?: number
}

// Longest wait for the server's reply.
const answerMs = 1000

/** Receives NOTIFY on a connection of its own, and connects again for as long as it is not stopped. */
export function createListener(options: ListenerOptions): Listener {
  const { url, applicationName, log, channels, onConnect, retryMs = 250, beatMs = 3000 } = options
  const { connections = createConnections({ log }), lifetimeMs = 300_000 } = options
  const stopping = new AbortController()
  let running: Promise<void> | undefined
  let letGo = () => {}

  /** Resolves with whether the connection reached its age. */
  const listen = async (connected: () => void): Promise<boolean> => {
    if (!connections.allowed()) throw new Error('this process has no place among those that may use the database')
    const generation = connections.generation()
    const judge = (error: unknown) => {
      // A standby takes no LISTEN, so the address leads to the wrong server.
      if (isReadOnly(error)) connections.retire(generation, 'the server is read-only')
      if (isShutdown(error)) connections.retire(generation, 'the server shuts down')
    }
    const client = new BoundedClient({
      connectionString: url,
      application_name: applicationName,
      connectionTimeoutMillis: 2000,
      keepAlive: true,
      keepAliveInitialDelayMillis: 10_000,
      query_timeout: Math.min(beatMs, answerMs),
    })
    const endsAt = performance.now() + lifetimeMs * (0.8 + Math.random() * 0.2)
    const ended = new Promise<void>((resolve) => {
      letGo = resolve
      client.once('end', resolve)
    })
    client.on('error', (err) => {
      log.debug({ err }, 'listener connection failed')
      judge(err)
      letGo()
    })
    client.on('notification', ({ channel, payload }) => channels[channel]?.(payload ?? ''))
    try {
      await client.connect()
      for (const channel of Object.keys(channels)) await client.query(`LISTEN ${pg.escapeIdentifier(channel)}`)
      connected()
      onConnect?.()
      // On a connection that has gone silent nothing ever arrives, not even its end.
      for (let open = true; open; ) {
        const beat = new AbortController()
        const due = wait(Math.max(0, Math.min(beatMs, endsAt - performance.now())), true, {
          signal: beat.signal,
          ref: false,
        })
        open = await Promise.race([ended.then(() => false), due])
        beat.abort()
        if (open && performance.now() >= endsAt) return true
        if (open) await Promise.race([ended, client.query('')])
      }
      return false
    } catch (error) {
      judge(error)
      throw error
    } finally {
      await client.end().catch(() => undefined)
    }
  }

  const loop = async (): Promise<void> => {
    let failures = 0
    const stopHearing = connections.onRetire(() => letGo())
    const connected = () => {
      if (failures > 0) log.info('database listener reconnected')
      failures = 0
    }
    while (!stopping.signal.aborted) {
      const outcome = await listen(connected).catch((err: unknown) => ({ err }))
      if (stopping.signal.aborted) break
      if (outcome === true) continue
      const err = typeof outcome === 'object' ? outcome.err : undefined
      if (failures++ === 0) log.warn({ err }, 'database listener lost its connection')
      const longest = retryMs * Math.min(2 ** failures, 20)
      await wait(longest * (0.5 + Math.random() / 2), undefined, { signal: stopping.signal }).catch(() => undefined)
    }
    stopHearing()
  }

  return {
    start() {
      running ??= loop()
    },
    async stop() {
      stopping.abort()
      letGo()
      await running
    },
  }
}
