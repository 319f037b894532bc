/** Stands before one peer that may be slow or away, and spares it calls that would fail. Each process judges by its own calls. */
export interface Breaker {
  /**
   * Runs `call`, which must end by itself: give it a timeout. After several failures in a row it throws `E_PEER_UNAVAILABLE` at once
   * instead, with the time after which it is worth another try; then one call alone finds out whether the peer is back.
   * It never repeats a call: that is left to the one layer that does, the jobs.
   */
  run<T>(call: () => Promise<T>): Promise<T>
}

export interface Breakers {
  /** `isFailure`: whether an error says that the peer is in trouble; a refusal of one request does not. Default: each does. */
  of(peer: string, isFailure?: (error: Error) => boolean): Breaker
  /** By peer; for the metrics. */
  states(): Record<string, BreakerState>
}

export interface BreakerState {
  /** Whether calls are held back: until a probe has succeeded. */
  open: boolean
  /** Calls that were held back, since the start. */
  refused: number
}
