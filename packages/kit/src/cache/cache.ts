import type { Scope } from '../scope.ts'

/** How a value is made and for how long it may be kept. Values are JSON, and frozen: many requests share one. */
export interface Reading<T> {
  /**
   * Reads the source. `undefined` means that there is no value, which is cached for `absentMs`. Aborted after `loadTimeoutMs`.
   * A rejection is not cached; while `staleMs` lasts, an older value is returned in its place.
   */
  load(signal: AbortSignal): Promise<T | undefined>
  /**
   * How long a value is fresh, in milliseconds. Measured from the start of the load and shortened by up to 10 % at random, to spread
   * expiries. After a load that took as long itself, a value is still kept for up to 200 ms, for the callers that wait for it.
   */
  freshMs: number
  /** How long after that the old value may be returned at once, while one process loads a new one, in milliseconds. 0: never. */
  staleMs: number
  /** How long an absence is fresh, in milliseconds. Default: 1 s, or `freshMs` if that is shorter. It is never returned stale. */
  absentMs?: number
  /** Orders the values of one key: an older value never replaces a newer one, and a process never returns an older value after a newer one. */
  version?(value: T): number
  /**
   * Increase it when the shape of the values changes: while two versions of the code run, each reads and writes its own shape under
   * the same key, and an invalidation by either reaches both. Default: 1.
   */
  form?: number
  /** Longest time for one load, in milliseconds. Default: 2 s. */
  loadTimeoutMs?: number
}

export interface Cache {
  scope: Scope
  /**
   * Returns the value; concurrent callers share one load, in all processes together. While Redis is unreachable each process loads for
   * itself, at most `maxLoads` at once. Throws what `load` threw, `E_TIMEOUT` after `loadTimeoutMs`, or `E_OVERLOADED` if the load had not
   * started by then.
   */
  get<T>(key: string, reading: Reading<T>): Promise<T | undefined>
  /**
   * Removes a value everywhere. Call it after the commit, with the committed version if values have one: a process that has received it
   * returns no older version any more. Never rejects: an invalidation that could not be sent is sent again each second.
   */
  invalidate(key: string, version?: number): Promise<void>
  /** Returns why the cache works less well than it should, or `undefined` if it does not. */
  degraded(): string | undefined
  /** Resolves once the running loads have ended. */
  stop(): Promise<void>
}

/** Bounds of what one process keeps. */
export interface FirstTierOptions {
  maxEntries: number
  maxBytes: number
}
