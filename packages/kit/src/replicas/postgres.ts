import { setTimeout as wait } from 'node:timers/promises'
import { hasCode } from '../errors/app-error.ts'
import { type Connections, createConnections } from '../postgres/connections.ts'
import { describeFailure } from '../postgres/failures.ts'
import { alignLimits } from '../postgres/limits.ts'
import { type MigrationFolder, missingMigrations } from '../postgres/migrations.ts'
import { createPostgres, sqlState } from '../postgres/postgres.ts'
import { connectionShare, processScoped, type Refusal } from './admission.ts'
import { consequenceOf } from './consequences.ts'
import { beatForEver, retryMs } from './heartbeat.ts'
import { createPlace, type PlaceOptions } from './place.ts'
import type { Replicas } from './replicas.ts'
import { createScaleReport } from './scale-report.ts'
import { listAlive, serverConnections } from './statements.ts'

export interface ReplicasOptions extends PlaceOptions {
  /** The registry keeps one connection of its own: a heartbeat must not queue behind the requests. */
  databaseUrl: string
  /** What the connections of this process share: they are allowed for as long as the place is its own. */
  connections?: Connections
  heartbeatMs?: number
  /** A replica that was silent for so long is dead. Default: three heartbeats. */
  ttlMs?: number
  timeoutMs?: number
  /** `false` behind a pooler that knows no named statements (PgBouncer before 1.21). */
  namedStatements?: boolean
  /** What the database must have before this process may serve; default: only that the registry's own table is there. */
  migrations?: MigrationFolder[]
}

const predecessor = 'waiting for a predecessor'
const fatal = ['E_PROCESS_SCOPE', 'E_SECRETS_DIFFER', 'E_CONFIG']

/** The registry of running processes, as rows in Postgres. */
export function createReplicas(options: ReplicasOptions): Replicas {
  const { self, log, dbConnections, maxProcesses, heartbeatMs = 5000, ttlMs = 3 * heartbeatMs } = options
  const { connections = createConnections({ log }), timeoutMs = 2000 } = options
  const postgres = createPostgres({
    url: options.databaseUrl,
    log,
    applicationName: `${self.id} registry`,
    maxConnections: 1,
    timeoutMs,
    namedStatements: options.namedStatements,
    connections,
    exempt: true,
  })
  const left = new AbortController()
  const place = createPlace({ ...options, postgres, connections, ttlMs })
  let beating: Promise<void> | undefined
  let leaving: Promise<void> | undefined

  /** Tries until the database answers and has its tables; logs each reason at most once. */
  const registerWhenPossible = async (): Promise<Refusal | undefined> => {
    let logged = ''
    while (true) {
      left.signal.throwIfAborted()
      let reason: string
      try {
        const missing = await missingMigrations(postgres, options.migrations ?? [])
        if (missing.length === 0) {
          await alignLimits(postgres, timeoutMs)
          return await place.register(true)
        }
        reason = `waiting for the migrations ${missing.join(', ')}`
        if (logged !== reason) log.info({ missing }, 'waiting for the migrations')
      } catch (err) {
        if (fatal.some((code) => hasCode(err, code))) throw err
        const isEmpty = sqlState(err) === '42P01'
        reason = isEmpty ? 'waiting for the migrations' : `waiting for Postgres: ${describeFailure(err)}`
        if (logged !== reason) log.warn({ err }, isEmpty ? reason : 'waiting for Postgres')
      }
      place.setReason(reason)
      logged = reason
      await wait(retryMs, undefined, { signal: left.signal })
    }
  }

  const join = async () => {
    const seen = new Map<string, number>()
    const started = Date.now()
    while (true) {
      const refusal = await registerWhenPossible()
      if (!refusal) break
      // A heartbeat that moves proves a live replica. One that does not may be a dead predecessor's: wait until it has expired.
      const lives = refusal.others.some(({ incarnation, heartbeatAt }) => {
        const first = seen.get(incarnation) ?? heartbeatAt.getTime()
        seen.set(incarnation, first)
        return heartbeatAt.getTime() > first
      })
      if (lives || Date.now() - started > ttlMs + heartbeatMs) throw refusal.error
      if (seen.size > 0 && place.reason() !== predecessor) {
        log.warn({ replicas: refusal.others.map(({ id }) => id) }, 'waiting to see whether these are alive')
      }
      place.setReason(predecessor)
      await wait(Math.min(retryMs, heartbeatMs), undefined, { signal: left.signal })
    }
    for (const part of processScoped(self)) {
      const { breaks, page } = consequenceOf(part)
      log.warn({ part, breaks, page }, 'state lives in this process: no second replica can start')
    }
    beating = beatForEver({ place, connections, heartbeatMs, log, signal: left.signal })
  }

  const leave = async () => {
    left.abort()
    await beating
    await place.leave().catch((err) => log.warn({ err }, 'the row stays in the registry until it expires'))
    await postgres.stop()
  }

  return {
    join,
    admitted: place.admitted,
    unreadyReason: place.reason,
    silentReason: place.silentReason,
    problems: () =>
      [prefixed('postgres: ', connections.problem()), place.silentReason()].filter((one) => one !== undefined),
    liveApis: place.liveApis,
    list: () => listAlive(postgres),
    async scaleReport() {
      const [rows, server] = await Promise.all([listAlive(postgres), serverConnections(postgres)])
      return createScaleReport({
        self: self.id,
        rows,
        open: server.open,
        limits: connectionShare(server, dbConnections, maxProcesses),
      })
    },
    leave: () => (leaving ??= leave()),
  }
}

function prefixed(prefix: string, text: string | undefined): string | undefined {
  return text === undefined ? undefined : prefix + text
}
