import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { hasCode } from '../errors/app-error.ts'
import type { Logger } from '../log/log.ts'
import { type Connections, createConnections, startClock } from '../postgres/connections.ts'
import { describeFailure } from '../postgres/failures.ts'
import { completeLimits, limitsFor } from '../postgres/limits.ts'
import { type MigrationFolder, missingMigrations } from '../postgres/migrations.ts'
import { createPostgres, type Postgres, sqlState } from '../postgres/postgres.ts'
import {
  connectionShare,
  processScoped,
  processScopeError,
  scopeConflicts,
  secretsError,
  shareSecret,
} from './admission.ts'
import { consequenceOf } from './consequences.ts'
import type { ReplicaRow, Replicas, Self } from './replicas.ts'
import {
  beat,
  deleteRow,
  endAbandoned,
  listAlive,
  lockRegistry,
  measureClockOffset,
  serverConnections,
  writeRow,
} from './rows.ts'
import { createScaleReport } from './scale-report.ts'

export interface ReplicasOptions {
  self: Self
  /** The registry keeps one connection of its own: a heartbeat must not queue behind the requests. */
  databaseUrl: string
  /** The process's pool: grows to this process's share when it is admitted. Make it with one connection. */
  pool: Pick<Postgres, 'grow'>
  /** What the connections of this process share: they are allowed for as long as the place is its own. */
  connections?: Connections
  /** Called when an admitted process has lost its place, and when it has one again. */
  onPlace?(hasPlace: boolean): void
  log: Logger
  /** For all processes together; 0: what the server allows, less a reserve. */
  dbConnections: number
  maxProcesses: number
  heartbeatMs?: number
  /** A replica that was silent for so long is dead. Default: three heartbeats. */
  ttlMs?: number
  timeoutMs?: number
  /** What the database must have before this process may serve; default: only that the registry's own table is there. */
  migrations?: MigrationFolder[]
  allowProcessScope?: boolean
  allowSecretSplit?: boolean
}

/** What stands in the way of a start, and in whose names. */
interface Refusal {
  error: Error
  others: ReplicaRow[]
}

const retryMs = 250
const fatal = ['E_PROCESS_SCOPE', 'E_SECRETS_DIFFER', 'E_CONFIG']

/** The registry of everybody who lives, as rows in Postgres. */
export function createReplicas(options: ReplicasOptions): Replicas {
  const { self, pool, log, dbConnections, maxProcesses, heartbeatMs = 5000, ttlMs = 3 * heartbeatMs } = options
  const { connections = createConnections({ log }), timeoutMs = 2000, onPlace = () => undefined } = options
  const incarnation = randomUUID()
  const postgres = createPostgres({
    url: options.databaseUrl,
    log,
    applicationName: `${self.id} registry`,
    maxConnections: 1,
    timeoutMs,
    connections,
    exempt: true,
  })
  const left = new AbortController()
  const admission = Promise.withResolvers<void>()
  let reason: string | undefined = 'not registered yet'
  let apis = 1
  let clockOffsetMs = 0
  let sinceBeat = startClock()
  let beating: Promise<void> | undefined
  let leaving: Promise<void> | undefined

  /** Registers, or says why not. Whoever is alive is counted and checked before anybody else can come in. */
  const register = async (guarded: boolean): Promise<Refusal | undefined> => {
    const clock = startClock()
    const outcome = await postgres.transaction(async (tx) => {
      await lockRegistry(tx)
      const limits = connectionShare(await serverConnections(tx), dbConnections, maxProcesses)
      const others = (await listAlive(tx)).filter((row) => row.incarnation !== incarnation)
      const refusal = guarded ? refuse(others) : undefined
      if (refusal) return { refusal }
      const admitted = others.filter((row) => row.admitted).length < maxProcesses
      const poolSize = admitted ? limits.perProcess : 0
      clockOffsetMs = await measureClockOffset(tx)
      await writeRow(tx, { ...self, incarnation, ttlMs, poolSize, admitted, clockOffsetMs })
      return { poolSize, apis: countApis([...others, { role: self.role, admitted }]) }
    })
    if (outcome.refusal) return outcome.refusal
    apis = outcome.apis
    if (outcome.poolSize > 0) await endOthers()
    settle(outcome.poolSize, clock)
    return undefined
  }

  const refuse = (others: ReplicaRow[]): Refusal | undefined => {
    const sharing = others.filter((other) => scopeConflicts(self, [other]).length > 0)
    if (sharing.length > 0 && !options.allowProcessScope)
      return { error: processScopeError(self, sharing), others: sharing }
    const strangers = others
      .filter(({ role }) => role === 'api' && self.role === 'api')
      .filter((api) => !shareSecret(self, api))
    if (strangers.length > 0 && !options.allowSecretSplit)
      return { error: secretsError(self, strangers), others: strangers }
    return undefined
  }

  /** Before its share is used: whoever had the place before may still be connected. */
  const endOthers = async () => {
    const ended = await endAbandoned(postgres).catch((err: unknown) => {
      log.warn({ err }, 'cannot end the connections of processes that are gone')
      return 0
    })
    if (ended > 0) log.warn({ connections: ended }, 'ended the connections of processes that are gone')
  }

  const settle = (poolSize: number, clock: () => number) => {
    const before = reason
    if (poolSize > 0) {
      pool.grow(poolSize - 1)
      reason = undefined
      keepPlace(clock)
      if (before !== undefined) {
        log.info({ connections: poolSize, maxProcesses }, 'admitted')
        onPlace(true)
      }
      admission.resolve()
    } else {
      reason = `MAX_PROCESSES=${maxProcesses} are running already: waiting for a place`
      connections.allowFor(0)
      if (before === undefined) onPlace(false)
      if (before !== reason) log.warn({ maxProcesses }, 'not admitted: waiting for a place')
    }
  }

  /** Counted from before the heartbeat was sent, so that the connections end here before the row expires there. */
  const keepPlace = (clock: () => number) => {
    sinceBeat = clock
    connections.allowFor(ttlMs - clock())
  }

  const heartbeat = async () => {
    const clock = startClock()
    const beaten = await beat(postgres, incarnation, clockOffsetMs)
    clockOffsetMs = beaten.clockOffsetMs // the next heartbeat brings it
    // Gone, or silent for so long that the place may have been given away: ask for it again. It ran before, so it is not refused.
    if (!beaten.known || reason !== undefined) return void (await register(false))
    keepPlace(clock)
    apis = Math.max(1, beaten.apis)
  }

  /** Until the next heartbeat is due: soon while something is wrong, and at once after connections were given up. */
  const pause = async (failed: boolean) => {
    const isWell = !failed && connections.problem() === undefined
    const ms = isWell ? heartbeatMs * (0.9 + Math.random() * 0.1) : Math.min(heartbeatMs, retryMs * (1 + Math.random()))
    const woken = new AbortController()
    const stopHearing = connections.onRetire(() => reason === undefined && woken.abort())
    await wait(ms, undefined, { signal: AbortSignal.any([left.signal, woken.signal]) }).catch(() => undefined)
    stopHearing()
  }

  const beatForEver = async () => {
    for (let failed = false; !left.signal.aborted; ) {
      await pause(failed)
      if (left.signal.aborted) return
      try {
        await heartbeat()
        if (failed) log.info('heartbeat is back')
        failed = false
      } catch (err) {
        // If the database is unreachable, keep the last known replica count.
        if (!failed) log.warn({ err }, 'heartbeat failed')
        failed = true
      }
    }
  }

  /** Tries until the database answers and has its tables; tells at most once for each reason. */
  const registerWhenPossible = async (): Promise<Refusal | undefined> => {
    for (let told = ''; ; ) {
      left.signal.throwIfAborted()
      try {
        const missing = await missingMigrations(postgres, options.migrations ?? [])
        if (missing.length === 0) {
          await completeLimits(postgres, limitsFor(timeoutMs))
          return await register(true)
        }
        reason = `waiting for the migrations ${missing.join(', ')}`
        if (told !== reason) log.info({ missing }, 'waiting for the migrations')
      } catch (err) {
        if (fatal.some((code) => hasCode(err, code))) throw err
        const isEmpty = sqlState(err) === '42P01'
        reason = isEmpty ? 'waiting for the migrations' : `waiting for Postgres: ${describeFailure(err)}`
        if (told !== reason) log.warn({ err }, isEmpty ? reason : 'waiting for Postgres')
      }
      told = reason
      await wait(retryMs, undefined, { signal: left.signal })
    }
  }

  const join = async () => {
    const seen = new Map<string, number>()
    for (const started = Date.now(); ; ) {
      const refusal = await registerWhenPossible()
      if (!refusal) break
      // A heartbeat that moves proves a live replica. One that does not may be a dead predecessor's: wait until it has expired.
      const lives = refusal.others.some(({ incarnation, heartbeatAt }) => {
        const first = seen.get(incarnation) ?? heartbeatAt.getTime()
        seen.set(incarnation, first)
        return heartbeatAt.getTime() > first
      })
      if (lives || Date.now() - started > ttlMs + heartbeatMs) throw refusal.error
      if (seen.size > 0 && reason !== 'waiting for a predecessor') {
        log.warn({ replicas: refusal.others.map(({ id }) => id) }, 'waiting to see whether these are alive')
      }
      reason = 'waiting for a predecessor'
      await wait(Math.min(retryMs, heartbeatMs), undefined, { signal: left.signal })
    }
    for (const part of processScoped(self)) {
      const { breaks, page } = consequenceOf(part)
      log.warn({ part, breaks, page }, 'state lives in this process: no second replica can start')
    }
    beating = beatForEver()
  }

  const silentReason = () =>
    reason !== undefined || connections.allowed()
      ? undefined
      : `no heartbeat for ${Math.round(sinceBeat() / 1000)} s: the place may belong to another process`

  const leave = async () => {
    left.abort()
    await beating
    await deleteRow(postgres, incarnation).catch((err) =>
      log.warn({ err }, 'the row stays in the registry until it expires'),
    )
    await postgres.stop()
  }

  return {
    join,
    admitted: admission.promise,
    unreadyReason: () => reason,
    silentReason,
    problems: () => [prefixed('postgres: ', connections.problem()), silentReason()].filter((one) => one !== undefined),
    liveApis: () => apis,
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

function countApis(rows: Pick<ReplicaRow, 'role' | 'admitted'>[]): number {
  return Math.max(1, rows.filter(({ role, admitted }) => role === 'api' && admitted).length)
}
