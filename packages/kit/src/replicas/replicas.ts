import type { ReplicaRow } from './replica.ts'
import type { ScaleReport } from './scale-report.ts'

export interface Replicas {
  /**
   * Waits for Postgres and for the migrations, then registers, checks and admits in one transaction under an advisory lock.
   * Throws `E_PROCESS_SCOPE`, `E_SECRETS_DIFFER` or `E_CONFIG` (too few connections for so many processes). Resolves without
   * being admitted while there are `maxProcesses` already, and then asks again at each heartbeat.
   */
  join(): Promise<void>
  /** Resolves once this process is admitted: only then does it have connections to serve with. Never rejects; stays pending if `leave()` is called first. */
  admitted: Promise<void>
  /** Returns why this process may not serve, or `undefined` while it is admitted. */
  unreadyReason(): string | undefined
  /**
   * Returns why the connections of an admitted process are closed, or `undefined` if they are not: it missed heartbeats for so long that
   * its place may be given away.
   */
  silentReason(): string | undefined
  /** Returns what makes this process work less well, for `/readyz`: a database that refuses connections or writes, or a missing heartbeat. */
  problems(): string[]
  /** Returns the number of live API replicas as last known, at least 1. Synchronous. */
  liveApis(): number
  /** Returns the processes that are alive by the database's clock, the oldest first. Throws `E_POSTGRES_UNAVAILABLE`. */
  list(): Promise<ReplicaRow[]>
  /** Returns the live processes, the connection budget, the clocks' offsets and every check with its verdict. Throws `E_POSTGRES_UNAVAILABLE`. */
  scaleReport(): Promise<ScaleReport>
  /** Deletes this process's row, so that its place is free at once. Call it last, after the pool has ended. Never rejects. */
  leave(): Promise<void>
}
