import type { Scope } from '../scope.ts'

export type Role = 'api' | 'worker'

/** What a replica tells the others about itself. */
export interface Self {
  id: string
  role: Role
  version: string
  /** Every adapter that keeps state: `{ sessions: 'cluster', … }`. */
  scopes: Record<string, Scope>
  /** Keyed fingerprints of the session secrets, never the secrets; a worker has none. */
  secretFingerprints: string[]
  /** Ids of the schedules that this worker declares. */
  schedules: string[]
}

export interface ReplicaRow extends Self {
  startedAt: Date
  heartbeatAt: Date
  /** The database's clock less this replica's, at its last heartbeat. */
  clockOffsetMs: number
  poolSize: number
}

export interface Replicas {
  /**
   * Waits for Postgres, then registers, checks and admits in one transaction under an advisory lock.
   * Throws `E_PROCESS_SCOPE` or `E_SECRETS_DIFFER`. Resolves with `admitted: false` while there are `maxProcesses` already; asks again at each heartbeat.
   */
  join(): Promise<void>
  /** Why this process may not serve: `undefined` once admitted. */
  unreadyReason(): string | undefined
  /** Live API replicas, as last known; at least 1. */
  liveApis(): number
  list(): Promise<ReplicaRow[]>
  /** Deletes the row: the place is free at once. */
  leave(): Promise<void>
}
