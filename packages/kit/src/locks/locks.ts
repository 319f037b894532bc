import type { Scope } from '../scope.ts'

/**
 * A lock that expires by itself. Its holder must stop when `signal` fires, and pass `fence` to the resource that the lock guards: only a
 * resource that refuses smaller fences is safe from a holder that was paused and does not know yet that it lost the lock.
 */
export interface Lease {
  /**
   * Grows with every acquisition of the same name, even after the store lost its data. The resource must refuse one that is smaller than
   * the largest it has seen.
   */
  fence: bigint
  /** Fires when the lease is lost, or was not renewed in time by this process's monotonic clock: before another holder can get the lock. */
  signal: AbortSignal
  /** Gives the lock back, unless it has another holder by now. Never rejects: a lock that cannot be given back expires. */
  release(): Promise<void>
}

export interface AcquireOptions {
  /** How long the lock outlives a holder that died, in milliseconds. It is renewed every third of that. */
  leaseMs: number
  /** Longest wait for another holder, in milliseconds. Default: 0, which tries once. */
  waitMs?: number
  /** Ends the wait: `acquire` then rejects with the signal's reason. */
  signal?: AbortSignal
}

export interface Locks {
  scope: Scope
  /**
   * Returns `undefined` if another holder kept the lock for all of `waitMs`. Throws `E_REDIS_UNAVAILABLE` when the holder is unknown: no
   * caller gets the lock then.
   */
  acquire(name: string, options: AcquireOptions): Promise<Lease | undefined>
}
