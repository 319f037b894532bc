import { MemoryStore, type Options, type Store } from 'express-rate-limit'
import type { RateLimitPolicy } from './rate-limits.ts'

export interface LocalShareOptions {
  policy: RateLimitPolicy
  /** Live replicas, as last known. */
  share: () => number
  onDegraded: (error: unknown) => void
  onRecovered: () => void
  /** While the store fails, how often one request tries it again. */
  retryMs?: number
}

export interface LocalShare {
  store: Store
  degraded(): boolean
}

/**
 * While `store` fails, this process counts by itself and allows `limit / share()`, so that all replicas together allow
 * about the limit: over one window at most twice of it, what was used before and what each allows since.
 * Only one request in `retryMs` waits for the store then; the others are counted at once.
 */
export function withLocalShare(store: Store, options: LocalShareOptions): LocalShare {
  const { policy, share, onDegraded, onRecovered, retryMs = 250 } = options
  const local = new MemoryStore()
  let failing = false
  let retryAt = 0

  async function count(key: string) {
    const { totalHits, resetTime } = await local.increment(key)
    const allowed = Math.ceil(policy.limit / Math.max(1, share()))
    // Told as hits of the whole limit, so that what remains of it is what remains here.
    return { totalHits: policy.limit - allowed + totalHits, resetTime }
  }

  return {
    degraded: () => failing,
    store: {
      prefix: store.prefix,
      init(given: Options) {
        local.init(given)
        return store.init?.(given)
      },
      async increment(key) {
        if (failing && performance.now() < retryAt) return count(key)
        retryAt = performance.now() + retryMs
        try {
          const result = await store.increment(key)
          if (failing) {
            failing = false
            await local.resetAll()
            onRecovered()
          }
          return result
        } catch (error) {
          retryAt = performance.now() + retryMs
          if (!failing) onDegraded(error)
          failing = true
          return count(key)
        }
      },
      decrement: (key) => (failing ? local.decrement(key) : store.decrement(key)),
      resetKey: (key) => store.resetKey(key),
      shutdown: () => local.shutdown(),
    },
  }
}
