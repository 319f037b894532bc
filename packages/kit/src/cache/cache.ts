import type { Scope } from '../scope.ts'

/** How a value is made and for how long it may be kept. Values are JSON, and frozen: many requests share one. */
export interface Reading<T> {
  /**
   * Reads the source. `undefined`: there is nothing, which is remembered too. Aborted after `loadTimeoutMs`.
   * A rejection is not remembered, but an older value is answered in its place while `staleMs` lasts.
   */
  load(signal: AbortSignal): Promise<T | undefined>
  /**
   * Counted from the start of the load; drawn up to a tenth shorter, so that keys do not all expire at once. After a load that
   * took as long itself, a value lives for up to 200 ms all the same: for those who wait.
   */
  freshMs: number
  /** After that, how long the old value may be answered at once, while one process of all makes a new one. 0: never. */
  staleMs: number
  /** How long an absence is fresh. Default: 1 s, or `freshMs` if that is shorter. Never answered when stale. */
  absentMs?: number
  /** Orders the values of one key: an older value never replaces a newer one, and a process never answers one after a newer. */
  version?(value: T): number
  /**
   * Default 1. Count it up when the form of the values changes: while two versions of the code run, each keeps and reads its
   * own form under the same key, and an invalidation by either reaches both.
   */
  form?: number
  /** Longest time for one load. Default 2 s. */
  loadTimeoutMs?: number
}

export interface Cache {
  scope: Scope
  /**
   * Concurrent callers share one load. Without the second tier: one load in each process, at most `maxLoads` at once.
   * Throws what `load` threw, `E_TIMEOUT` after `loadTimeoutMs`, or `E_OVERLOADED` when it was not even started by then.
   */
  get<T>(key: string, reading: Reading<T>): Promise<T | undefined>
  /**
   * Call it after the commit, with the version that was committed if the value has one: no process answers an older one
   * from then on, as soon as it hears of it. Never rejects: an invalidation that could not be sent is sent later.
   */
  invalidate(key: string, version?: number): Promise<void>
  /** Why it works less well than it should, if it does. */
  degraded(): string | undefined
  /** Waits for the loads that run. */
  stop(): Promise<void>
}

/** Bounds of what one process keeps. */
export interface FirstTierOptions {
  maxEntries: number
  maxBytes: number
}
