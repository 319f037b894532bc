import type { Logger } from '../log/log.ts'

/**
 * What the connections of one process to its database share: a pool, the registry's own connection and a listener. When one of
 * them finds out that the server was demoted or shuts down, all of them are replaced: the others may lead to the old server, too.
 */
export interface Connections {
  /** Counts up with each retirement. A connection belongs to the generation in which it was begun. */
  generation(): number
  /**
   * Ends all connections of that generation and older ones, `afterMs` from now, at most once each half second. News of a
   * connection of an older generation change nothing.
   */
  retire(generation: number, reason: string, afterMs?: number): void
  /** Lets this process use the database for so long from now, unless it is called again; 0 ends that. Default: without end. */
  allowFor(ms: number): void
  /** `false`: the place of this process may belong to another one, and with it the connections. */
  allowed(): boolean
  /** Calls `listener` whenever `allowed` changes. Returns what removes it. */
  onAllowed(listener: (allowed: boolean) => void): () => void
  /** Calls `listener` when connections must be given up: retired, or no longer allowed. Returns what removes it. */
  onRetire(listener: () => void): () => void
  /** Remembers why a connection could not be made; `undefined` once one was made. */
  setProblem(problem: string | undefined): void
  /** Why no connection can be made, or why the server takes no writes; `undefined` while all is well. */
  problem(): string | undefined
}

const pauseMs = 500
const logMs = 10_000

export function createConnections({ log }: { log: Logger }): Connections {
  const listeners = new Set<() => void>()
  const allowedListeners = new Set<(allowed: boolean) => void>()
  let wasAllowed = true
  let generation = 0
  let retiredAt = Number.NEGATIVE_INFINITY
  let loggedAt = Number.NEGATIVE_INFINITY
  let next: { at: number; timer: NodeJS.Timeout } | undefined
  let allowance: { elapsed(): number; ms: number; timer: NodeJS.Timeout } | undefined
  let problem: string | undefined

  const tell = () => {
    for (const listener of [...listeners]) listener()
  }
  const isAllowed = () => allowance === undefined || allowance.elapsed() < allowance.ms
  const setAllowed = (allowed: boolean) => {
    if (allowed === wasAllowed) return
    wasAllowed = allowed
    for (const listener of [...allowedListeners]) listener(allowed)
  }
  const endAllowance = () => {
    tell()
    setAllowed(false)
  }
  const retireNow = (reason: string) => {
    clearTimeout(next?.timer)
    next = undefined
    generation++
    retiredAt = performance.now()
    // A server that stays read-only has them replaced every second.
    if (retiredAt - loggedAt >= logMs) {
      loggedAt = retiredAt
      log.warn({ reason }, 'database connections are replaced')
    }
    tell()
  }

  return {
    generation: () => generation,
    retire(born, reason, afterMs = 0) {
      if (born < generation) return
      const now = performance.now()
      const at = Math.max(now + afterMs, retiredAt + pauseMs)
      if (next && next.at <= at) return
      clearTimeout(next?.timer)
      if (at <= now) return retireNow(reason)
      next = { at, timer: setTimeout(retireNow, at - now, reason).unref() }
    },
    allowFor(ms) {
      clearTimeout(allowance?.timer)
      if (!isAllowed()) setAllowed(false) // its timer is late
      // A paused process runs its timers late, so `allowed` measures the time itself.
      allowance = { ms, elapsed: startClock(), timer: setTimeout(endAllowance, ms).unref() }
      if (ms > 0) setAllowed(true)
      else endAllowance()
    },
    allowed: isAllowed,
    onAllowed(listener) {
      allowedListeners.add(listener)
      return () => void allowedListeners.delete(listener)
    },
    onRetire(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    setProblem(now) {
      problem = now
    },
    problem: () => problem,
  }
}

/** Measures by two clocks: the monotonic one stands still while the machine sleeps, and the other one can be set back. */
export function startClock(): () => number {
  const [monotonic, wall] = [performance.now(), Date.now()]
  return () => Math.max(performance.now() - monotonic, Date.now() - wall)
}
