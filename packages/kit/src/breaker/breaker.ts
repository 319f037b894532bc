/** Guards calls to one peer that may be slow or unreachable, and spares it calls that would fail. Each process judges by its own calls. */
export interface Breaker {
  /**
   * Runs `call`, which must have a timeout of its own, and rejects with whatever it rejects with. While the peer is failing, throws
   * `E_PEER_UNAVAILABLE` at once instead, with `retryAfterMs`. Never repeats a call: retries are the jobs' alone. Resolves with
   * `undefined` if `begin` resolved with `false`.
   */
  run<T>(call: () => Promise<T>, options?: Omit<BreakerCall, 'begin'>): Promise<T>
  run<T>(call: () => Promise<T>, options?: BreakerCall): Promise<T | undefined>
}

export interface BreakerCall {
  /** Whether this call is made for the first time. One that has failed before is likely to fail again, and proves nothing about the peer. Default: true. */
  isFirst?: boolean
  /** Runs last before the call, once the breaker lets it through. If it resolves with `false` or rejects, the peer is not called. */
  begin?(): Promise<boolean>
}

export interface PeerOptions {
  /** Returns whether an error may mean that the peer is in trouble; the refusal of a single request does not. Default: every error. */
  isFailure?(error: Error): boolean
  /**
   * Sends the peer a harmless request, and rejects if the response makes no sense; must have a timeout of its own. It distinguishes a peer
   * in trouble from one that fails for some requests only, and finds out whether it has recovered without using up a job's attempt.
   */
  check?(): Promise<unknown>
}

export interface Breakers {
  /** Makes the breaker of a peer. Call it once per peer: each breaker judges by its own calls. */
  of(peer: string, options?: PeerOptions): Breaker
  /** Returns the state of each breaker by peer, for metrics. */
  states(): Record<string, BreakerState>
}

export interface BreakerState {
  /** Whether calls are held back, until a probe has succeeded. */
  open: boolean
  /** Calls that were held back since the process started. */
  refused: number
}
