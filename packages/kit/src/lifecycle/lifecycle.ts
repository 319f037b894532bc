/** What one process is doing: it serves while `ready`, and only finishes what it has begun while `draining`. */
export type State = 'starting' | 'ready' | 'draining' | 'stopped'

export interface Lifecycle {
  state(): State
  /** Changes `starting` to `ready`; has no effect in another state. */
  started(): void
  /** Aborted when the drain begins. Long responses and waits should end on it. */
  draining: AbortSignal
  /** Begins the drain, once; there is no way back to `ready`. */
  beginDrain(): void
  stopped(): void
  /**
   * Adds a check, which `/readyz` shows under `name`. `reason` returns why the process is unready, or `undefined` if it is not; it must be
   * quick and must not throw.
   */
  addCheck(name: string, reason: () => string | undefined): void
  /** Returns whether the process may get requests, and why not. */
  readiness(): { ready: boolean; state: State; reasons: Record<string, string> }
}

export function createLifecycle(): Lifecycle {
  let state: State = 'starting'
  const drain = new AbortController()
  const checks = new Map<string, () => string | undefined>()
  return {
    state: () => state,
    started() {
      if (state === 'starting') state = 'ready'
    },
    draining: drain.signal,
    beginDrain() {
      if (state === 'stopped') return
      state = 'draining'
      drain.abort()
    },
    stopped() {
      state = 'stopped'
    },
    addCheck(name, reason) {
      checks.set(name, reason)
    },
    readiness() {
      const reasons = Object.fromEntries(
        [...checks].flatMap(([name, check]) => {
          const reason = check()
          return reason === undefined ? [] : [[name, reason]]
        }),
      )
      return { ready: state === 'ready' && Object.keys(reasons).length === 0, state, reasons }
    },
  }
}
