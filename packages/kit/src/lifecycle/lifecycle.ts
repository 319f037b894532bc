/** What one replica is doing: it serves when `ready`, finishes what it has while `draining`. */
export type State = 'starting' | 'ready' | 'draining' | 'stopped'

export interface Lifecycle {
  state(): State
  started(): void
  /** Aborted when the drain begins: long answers and waits end on it. */
  draining: AbortSignal
  beginDrain(): void
  stopped(): void
  /** A reason to be unready: words while there is one, `undefined` when there is none. Named, so that it can be read in `/readyz`. */
  addCheck(name: string, reason: () => string | undefined): void
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
