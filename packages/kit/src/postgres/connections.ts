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
  /**
   * Says that a statement sent at `sentAt` has no answer. Idle connections on which nothing was heard since then may have gone
   * silent together with that statement's (a dead host, a NAT that forgot them), and each would cost a statement its time.
   */
  suspect(sentAt: number): void
  /** A connection on which nothing was heard since this moment, by `performance.now()`, must not be used again. */
  suspectBefore(): number
  /** Calls `listener` when idle connections have become suspect. Returns what removes it. */
  onSuspect(listener: () => void): () => void
  /**
   * Remembers why a connection could not be made; `undefined` once one was made. `begunAt`: when the attempt that failed began.
   * One that is older than the last connection that was made says nothing about now.
   */
  setProblem(problem: string | undefined, begunAt?: number): void
  /** Why no connection can be made, or why the server takes no writes; `undefined` while all is well. */
  problem(): string | undefined
}

const pauseMs = 500
const logMs = 10_000

export function createConnections({ log }: { log: Logger }): Connections {
  const listeners = new Set<() => void>()
  const suspecting = new Set<() => void>()
  const allowedListeners = new Set<(allowed: boolean) => void>()
  let wasAllowed = true
  let generation = 0
  let retiredAt = Number.NEGATIVE_INFINITY
  let loggedAt = Number.NEGATIVE_INFINITY
  let next: { at: number; timer: NodeJS.Timeout } | undefined
  let allowance: { elapsed(): number; ms: number; timer: NodeJS.Timeout } | undefined
  let problem: string | undefined
  let madeAt = Number.NEGATIVE_INFINITY
  let suspectBefore = Number.NEGATIVE_INFINITY

  const notify = () => {
    for (const listener of [...listeners]) listener()
  }
  const isAllowed = () => allowance === undefined || allowance.elapsed() < allowance.ms
  const setAllowed = (allowed: boolean) => {
    if (allowed === wasAllowed) return
    wasAllowed = allowed
    for (const listener of [...allowedListeners]) listener(allowed)
  }
  const endAllowance = () => {
    notify()
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
      log.warn({ reason }, 'replacing database connections')
    }
    notify()
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
    suspect(sentAt) {
      if (sentAt <= suspectBefore) return
      suspectBefore = sentAt
      for (const listener of [...suspecting]) listener()
    },
    suspectBefore: () => suspectBefore,
    onSuspect(listener) {
      suspecting.add(listener)
      return () => void suspecting.delete(listener)
    },
    setProblem(now, begunAt = performance.now()) {
      if (now === undefined) madeAt = performance.now()
      else if (begunAt < madeAt) return
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
