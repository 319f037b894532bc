import type { Scope } from '../scope.ts'

/** A lock that expires by itself: its holder must stop when `signal` fires, and pass `fence` to the resource that it guards. */
export interface Lease {
  /** Grows with every acquisition of the same name, also after the store lost its data. The resource refuses a smaller one than it has seen. */
  fence: bigint
  /** Fires when the lease is lost, or could not be renewed in time by this process's own monotonic clock. */
  signal: AbortSignal
  /** Gives the lock back if it is still this holder's; never somebody else's. */
  release(): Promise<void>
}

export interface AcquireOptions {
  /** How long the lock outlives a holder that died. Renewed at a third of it. */
  leaseMs: number
  /** How long to wait for another holder; 0 tries once. */
  waitMs?: number
  signal?: AbortSignal
}

export interface Locks {
  scope: Scope
  /** Returns `undefined` if somebody else holds the lock. Throws `E_REDIS_UNAVAILABLE` when that is unknown: closed on failure. */
  acquire(name: string, options: AcquireOptions): Promise<Lease | undefined>
}
