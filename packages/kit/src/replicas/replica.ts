import type { Scope } from '../scope.ts'

export type Role = 'api' | 'worker'

/** What a replica reports to the others about itself. */
export interface Self {
  id: string
  role: Role
  version: string
  /** The scope of every adapter that keeps state: `{ sessions: 'cluster', … }`. A part that the API and the worker share has one name in both. */
  scopes: Record<string, Scope>
  /** Keyed fingerprints of the session secrets, never the secrets; a worker has none. */
  secretFingerprints: string[]
  /** Ids of the schedules that this worker declares. */
  schedules: string[]
}

export interface ReplicaRow extends Self {
  /** Identifies one start of one process: two rows with the same `id` are two processes, for example one that drains and its successor. */
  incarnation: string
  startedAt: Date
  heartbeatAt: Date
  /** The database's clock minus this process's, at its last heartbeat, in milliseconds. */
  clockOffsetMs: number
  /** Most connections that it may open: its pool's and one for the registry. 0 until it is admitted. */
  poolSize: number
  /** `false` if there were `maxProcesses` already: it waits, unready. */
  admitted: boolean
}
