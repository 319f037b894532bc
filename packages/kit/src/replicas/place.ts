import { randomUUID } from 'node:crypto'
import type { Logger } from '../log/log.ts'
import { type Changes, createChanges } from '../postgres/changes.ts'
import { type Connections, startClock } from '../postgres/connections.ts'
import type { Postgres } from '../postgres/postgres.ts'
import { type Allowed, connectionShare, type Refusal, refusalOf } from './admission.ts'
import type { ReplicaRow, Self } from './replica.ts'
import {
  type Beat,
  beat,
  countLiveApis,
  deleteRow,
  endAbandoned,
  listAlive,
  lockRegistry,
  markDead,
  measureClockOffset,
  serverConnections,
  writeRow,
} from './statements.ts'

export interface PlaceOptions extends Allowed {
  self: Self
  /** The process's pool: grows to this process's share when it is admitted. Make it with one connection. */
  pool: Pick<Postgres, 'grow'>
  /** Hears from each heartbeat which tables have changed. */
  changes?: Changes
  /** Called when an admitted process has lost its place, and when it has one again. */
  onPlace?(hasPlace: boolean): void
  log: Logger
  /** For all processes together; 0: what the server allows, less a reserve. */
  dbConnections: number
  maxProcesses: number
}

/** The row of this process, and the share of the connections that comes with it. */
export interface Place {
  /** Registers, or returns why not. The running processes are counted and checked before another one can register. */
  register(guarded: boolean): Promise<Refusal | undefined>
  /** Renews the heartbeat, and asks for the place again when it has been lost. */
  renew(): Promise<void>
  /** Resolves once admitted. Never rejects. */
  admitted: Promise<void>
  /** Why there is none; `undefined` while there is one. */
  reason(): string | undefined
  setReason(reason: string): void
  silentReason(): string | undefined
  liveApis(): number
  leave(): Promise<void>
}

export function createPlace(
  options: PlaceOptions & { postgres: Postgres; connections: Connections; ttlMs: number },
): Place {
  const { self, pool, postgres, connections, log, dbConnections, maxProcesses, ttlMs } = options
  const { onPlace = () => undefined, changes = createChanges() } = options
  const incarnation = randomUUID()
  const admission = Promise.withResolvers<void>()
  let reason: string | undefined = 'not registered yet'
  let apis = 1
  let countedAt: number | undefined
  let clockOffsetMs = 0
  let sinceBeat = startClock()

  const register = async (guarded: boolean): Promise<Refusal | undefined> => {
    const clock = startClock()
    const outcome = await postgres.transaction(async (tx) => {
      await lockRegistry(tx)
      const limits = connectionShare(await serverConnections(tx), dbConnections, maxProcesses)
      const others = (await listAlive(tx)).filter((row) => row.incarnation !== incarnation)
      const refusal = guarded ? refusalOf(self, others, options) : undefined
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

  /** Before its share is used: the previous holder of the place may still be connected. */
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

  const renew = async () => {
    const clock = startClock()
    const beaten = await beat(postgres, incarnation, clockOffsetMs)
    clockOffsetMs = beaten.clockOffsetMs // the next heartbeat brings it
    // Gone, or silent for so long that the place may have been given away: ask for it again. It ran before, so it is not refused.
    if (!beaten.known || reason !== undefined) await register(false)
    else keepPlace(clock)
    try {
      if (beaten.neighbourIsDead) await markDead(postgres)
      await countAgain(beaten)
    } finally {
      changes.heard(beaten.revisions) // after what keeps the place: a listener may fail
    }
  }

  /** Only when a process started, left or was found dead: it reads all rows. */
  const countAgain = async ({ revisions: { replicas: revision }, neighbourIsDead }: Beat) => {
    if (revision === countedAt && !neighbourIsDead) return
    apis = Math.max(1, await countLiveApis(postgres))
    countedAt = revision
  }

  const silentReason = () =>
    reason !== undefined || connections.allowed()
      ? undefined
      : `no heartbeat for ${Math.round(sinceBeat() / 1000)} s: the place may belong to another process`

  return {
    register,
    renew,
    admitted: admission.promise,
    reason: () => reason,
    setReason(now) {
      reason = now
    },
    silentReason,
    liveApis: () => apis,
    leave: () => deleteRow(postgres, incarnation),
  }
}

function countApis(rows: Pick<ReplicaRow, 'role' | 'admitted'>[]): number {
  return Math.max(1, rows.filter(({ role, admitted }) => role === 'api' && admitted).length)
}
