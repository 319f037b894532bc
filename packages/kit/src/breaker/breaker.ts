/** Guards one peer that may be slow or unreachable, and spares it calls that would fail. Each process judges by its own calls. */
export interface Breaker {
  /**
   * Runs `call`, which must end by itself: give it a timeout. While the peer is failing it throws `E_PEER_UNAVAILABLE` at once
   * instead, with the time after which another try is worthwhile. It never repeats a call: that is left to the one layer that does,
   * the jobs. Resolves with `undefined` when `begin` said no.
   */
  run<T>(call: () => Promise<T>, options?: Omit<BreakerCall, 'begin'>): Promise<T>
  run<T>(call: () => Promise<T>, options?: BreakerCall): Promise<T | undefined>
}

export interface BreakerCall {
  /** Whether this has not been tried before. What failed once is likely to fail again, and says nothing new about the peer. Default: true. */
  isFirst?: boolean
  /** The last step before the call, once it is let through. When it resolves with `false` or rejects, the peer is not asked. */
  begin?(): Promise<boolean>
}

export interface PeerOptions {
  /** Whether an error may mean that the peer is in trouble; a refusal of one request does not. Default: every error. */
  isFailure?(error: Error): boolean
  /**
   * Asks the peer something harmless, and rejects when it does not answer sensibly; must end by itself. It distinguishes a peer in trouble
   * from one that fails for some requests only, and finds out whether it has recovered without using up a job's attempt.
   */
  check?(): Promise<unknown>
}

export interface Breakers {
  of(peer: string, options?: PeerOptions): Breaker
  /** By peer; for the metrics. */
  states(): Record<string, BreakerState>
}

export interface BreakerState {
  /** Whether calls are held back: until a probe has succeeded. */
  open: boolean
  /** Calls that were held back, since the start. */
  refused: number
}
