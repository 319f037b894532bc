import type { ReplicaRow } from './replica.ts'
import type { ScaleReport } from './scale-report.ts'

export interface Replicas {
  /**
   * Waits for Postgres and for the migrations, then registers, checks and admits in one transaction under an advisory lock.
   * Throws `E_PROCESS_SCOPE`, `E_SECRETS_DIFFER` or `E_CONFIG` (too few connections for so many processes). Resolves without
   * being admitted while there are `maxProcesses` already; asks again at each heartbeat.
   */
  join(): Promise<void>
  /** Resolves once admitted: not before that is there a pool to serve with. Never rejects; stays open when `leave()` comes first. */
  admitted: Promise<void>
  /** Why this process may not serve: `undefined` once admitted, and again after it has lost its place. */
  unreadyReason(): string | undefined
  /** Why its connections are closed although it was admitted: no heartbeat for so long that its place may be given away. */
  silentReason(): string | undefined
  /** What makes this process work less well, for `/readyz`: a database that refuses connections or writes, or a missing heartbeat. */
  problems(): string[]
  /** Live API replicas, as last known; at least 1. */
  liveApis(): number
  /** The processes that are alive by the database's clock, oldest first. */
  list(): Promise<ReplicaRow[]>
  /** Who is alive, the connection arithmetic, the clocks, and each check with its verdict. */
  scaleReport(): Promise<ScaleReport>
  /** Deletes the row: the place is free at once. Comes last, after the pool has ended. Never rejects. */
  leave(): Promise<void>
}
