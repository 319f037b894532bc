import type { Scope } from '../scope.ts'

export type Role = 'api' | 'worker'

/** What a replica reports to the others about itself. */
export interface Self {
  id: string
  role: Role
  version: string
  /** Every adapter that keeps state: `{ sessions: 'cluster', … }`. What the API and the worker share has the same name in both. */
  scopes: Record<string, Scope>
  /** Keyed fingerprints of the session secrets, never the secrets; a worker has none. */
  secretFingerprints: string[]
  /** Ids of the schedules that this worker declares. */
  schedules: string[]
}

export interface ReplicaRow extends Self {
  /** One start of one process: two rows of the same `id` are two processes, for example an old one that drains and its successor. */
  incarnation: string
  startedAt: Date
  heartbeatAt: Date
  /** The database's clock less this replica's, at its last heartbeat. */
  clockOffsetMs: number
  /** Connections that it may open: its pool's, and one of the registry's own. 0 until it is admitted. */
  poolSize: number
  /** `false`: there were `maxProcesses` already; it waits, unready. */
  admitted: boolean
}
