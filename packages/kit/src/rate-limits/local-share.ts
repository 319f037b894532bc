import type { Store } from 'express-rate-limit'
import { LRUCache } from 'lru-cache'
import type { RateLimitPolicy } from './rate-limits.ts'

export interface LocalShareOptions {
  policy: RateLimitPolicy
  /** Live replicas, as last known. */
  share: () => number
  onDegraded: (error: unknown) => void
  onRecovered: () => void
  /** How long a request waits for the store; by default as long as the store does. */
  patienceMs?: number
  /** While the store fails, how often it is tried again. */
  retryMs?: number
}

export interface LocalShare {
  store: Store
  degraded(): boolean
}

/**
 * While `store` fails, this process counts by itself and allows `limit / share()`, so that all replicas together allow
 * about the limit: over one window at most twice of it, what was used before and what each allows since.
 * No request waits for the store then: one in `retryMs` is sent there as well, to find out.
 */
export function withLocalShare(store: Store, options: LocalShareOptions): LocalShare {
  const { policy, share, onDegraded, onRecovered, patienceMs, retryMs = 250 } = options
  // Not express-rate-limit's own MemoryStore: it returns one object per client, which requests that fail in the
  // same moment count up before any of them has read it.
  const createCounts = () =>
    new LRUCache<string, { hits: number; resetTime: Date }>({ max: 50_000, ttl: policy.windowMs })
  // Only while it is needed: it takes two megabytes, and four milliseconds to make.
  let counts: ReturnType<typeof createCounts> | undefined
  let failing = false
  let retryAt = 0

  function count(key: string) {
    counts ??= createCounts()
    const window = counts.get(key) ?? { hits: 0, resetTime: new Date(Date.now() + policy.windowMs) }
    if (window.hits === 0) counts.set(key, window)
    window.hits++
    const allowed = Math.ceil(policy.limit / Math.max(1, share()))
    // Reported as hits of the whole limit, so that what remains of it is what remains here.
    return { totalHits: policy.limit - allowed + window.hits, resetTime: window.resetTime }
  }

  async function ask(key: string) {
    retryAt = performance.now() + retryMs
    try {
      const asked = store.increment(key)
      const result = await (patienceMs ? within(patienceMs, asked) : asked)
      if (failing) {
        failing = false
        counts = undefined
        onRecovered()
      }
      return result
    } catch (error) {
      retryAt = performance.now() + retryMs
      if (!failing) onDegraded(error)
      failing = true
      throw error
    }
  }

  return {
    degraded: () => failing,
    store: {
      prefix: store.prefix,
      init: (given) => store.init?.(given),
      async increment(key) {
        if (!failing) return await ask(key).catch(() => count(key))
        if (performance.now() >= retryAt) void ask(key).catch(() => undefined)
        return count(key)
      },
      decrement: (key) => store.decrement(key),
      resetKey: (key) => store.resetKey(key),
    },
  }
}

/** Not late is what has come while this process itself was late: the answer is read before that is decided. */
function within<T>(ms: number, answer: Promise<T> | T): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const late = () => setImmediate(() => reject(new Error(`the store of rate limits did not answer in ${ms} ms`)))
    const timer = setTimeout(late, ms)
    const settle = <V>(how: (value: V) => void, value: V) => {
      clearTimeout(timer)
      how(value)
    }
    Promise.resolve(answer).then(
      (result) => settle(resolve, result),
      (error) => settle(reject, error),
    )
  })
}
