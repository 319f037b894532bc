import { setTimeout as wait } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import type { Logger } from '../log/log.ts'
import type { Changes } from '../postgres/changes.ts'
import type { Sql, Statement } from '../postgres/postgres.ts'
import { listenTo } from '../redis/redis.ts'
import { createFlagValues } from './flag-values.ts'
import type { Flag, Flags, FlagValue } from './flags.ts'

export interface PostgresFlagsOptions {
  declared: Flag[]
  postgres: Sql
  log: Logger
  /** How others hear of a change at once. Without it, and whenever a message is lost, the heartbeat or the poll finds it. */
  broadcast?: {
    /** A connection of the role `request`. */
    redis: Redis
    /** A connection of the role `subscriber`. */
    subscriber: Redis
    channel?: string
  }
  /** Reports with each heartbeat of the registry whether flags have changed, instead of the poll. */
  changes?: Changes
  /** Without `changes`, greatest time between two polls: a change whose broadcast was lost is seen within this and the time of one query. Default: 4.5 s. */
  pollMs?: number
}

const select: Statement = { name: 'flags', shared: true, text: 'SELECT name, value FROM flags' }
const upsert: Statement = {
  name: 'flags-set',
  text: `INSERT INTO flags (name, value) VALUES ($1, $2)
    ON CONFLICT (name) DO UPDATE SET value = $2, updated_at = now()`,
}

// While they cannot be read.
const retryMs = 500

/** One query for each process and change, or poll. While Postgres is unreachable, the last known values stay in effect. */
export function createPostgresFlags(options: PostgresFlagsOptions): Flags {
  const { declared, postgres, log, broadcast, changes, pollMs = 4500 } = options
  const channel = broadcast?.channel ?? 'escala:flags'
  const values = createFlagValues(declared)
  let timer: NodeJS.Timeout | undefined
  let stopped = false
  let reading: Promise<void> | undefined
  let again = false
  let failing = false

  const read = async () => {
    const { rows } = await postgres.query<{ name: string; value: unknown }>(select)
    values.replace(rows)
  }
  /** One query at a time, so that answers cannot overtake each other. Asked meanwhile, it reads once more. */
  const refresh = async (): Promise<void> => {
    if (reading) {
      again = true
      return reading
    }
    reading = (async () => {
      do {
        again = false
        await read()
      } while (again)
    })().finally(() => {
      reading = undefined
    })
    return reading
  }
  /** Reads, and says when that fails and when it works again: once for each outage, since each try would flood the log. */
  const readAndTell = async () => {
    const err = await refresh().catch((error: unknown) => error)
    if (err !== undefined && !failing) log.warn({ err }, 'flags could not be read')
    if (err === undefined && failing) log.info('flags are read again')
    failing = err !== undefined
    readLater()
  }
  /** Soon while they cannot be read; otherwise only if nothing reports changes. */
  const readLater = () => {
    clearTimeout(timer)
    if (stopped || (changes && !failing)) return
    const ms = failing ? Math.min(pollMs, retryMs) : pollMs
    timer = setTimeout(readAndTell, ms * (0.8 + Math.random() * 0.2))
  }
  const hear = () => void readAndTell()
  let stopHearing = () => {}
  let stopListening = () => {}

  return {
    scope: 'cluster',
    get: values.get,
    all: values.all,
    async set(name: string, value: FlagValue) {
      values.check(name, value)
      await postgres.query(upsert, [name, JSON.stringify(value)])
      await Promise.all([
        refresh().catch(() => undefined),
        broadcast?.redis.publish(channel, name).catch((err) => log.warn({ err }, 'flag change not broadcast')),
      ])
    },
    async start() {
      stopHearing = changes?.onChange('flags', hear) ?? stopHearing // first: what changes while they are read counts
      // Never serve defaults when an operator may have overridden them: block start-up until the flags can be read.
      let isLogged = false
      while (!stopped) {
        const err = await refresh().catch((error: unknown) => error)
        if (err === undefined) break
        if (!isLogged) log.warn({ err }, 'flags could not be read: waiting for them')
        isLogged = true
        await wait(Math.min(pollMs, retryMs))
      }
      if (stopped) throw new Error('stopped before the flags could be read')
      readLater()
      if (broadcast) {
        stopListening = listenTo({ ...broadcast, channel, onMessage: hear, onListening: hear })
      }
    },
    async stop() {
      stopped = true
      clearTimeout(timer)
      stopListening()
      stopHearing()
      await reading?.catch(() => undefined)
    },
  }
}
