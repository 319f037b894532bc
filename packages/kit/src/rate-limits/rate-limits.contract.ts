import { randomUUID } from 'node:crypto'
import type { Options, Store } from 'express-rate-limit'
import { describe, expect, test, vi } from 'vitest'
import type { RateLimitPolicy, RateLimitStores } from './rate-limits.ts'

export const policy = (changes: Partial<RateLimitPolicy> = {}): RateLimitPolicy => ({
  name: 'test',
  limit: 50,
  windowMs: 60_000,
  ...changes,
})

/** A store as express-rate-limit begins it. */
export function begin(stores: RateLimitStores, given: RateLimitPolicy): Store {
  const store = stores.create(given)
  void store.init?.(given as unknown as Options)
  return store
}

export async function hit(store: Store, key: string, times = 1) {
  const results = await Promise.all(Array.from({ length: times }, () => store.increment(key)))
  return results.at(-1) as { totalHits: number; resetTime: Date }
}

/** `create` makes one cluster's limits as two replicas see them (the same object for an adapter of one process). */
export function describeRateLimits(name: string, create: () => [RateLimitStores, RateLimitStores]): void {
  describe(name, () => {
    test('counts a client over both replicas, and clients apart', async () => {
      const replicas = create()
      const shared = replicas[0] === replicas[1] ? begin(replicas[0], policy()) : undefined
      const [a, b] = replicas.map((stores) => shared ?? begin(stores, policy())) as [Store, Store]
      const key = randomUUID()
      await Promise.all(Array.from({ length: 20 }, (_, i) => (i % 2 ? a : b).increment(key)))
      const { totalHits, resetTime } = await hit(a, key)
      expect(totalHits).toBe(21)
      expect(resetTime.getTime() - Date.now()).toBeGreaterThan(55_000)
      expect(resetTime.getTime() - Date.now()).toBeLessThanOrEqual(60_000)
      expect((await hit(b, randomUUID())).totalHits).toBe(1)
    })

    test('counts policies apart', async () => {
      const [stores] = create()
      const key = randomUUID()
      await hit(begin(stores, policy({ name: 'one' })), key, 3)
      expect((await hit(begin(stores, policy({ name: 'two' })), key)).totalHits).toBe(1)
    })

    test('begins again when the window is over', async () => {
      const [stores] = create()
      const store = begin(stores, policy({ windowMs: 100 }))
      const key = randomUUID()
      await hit(store, key, 3)
      await vi.waitFor(async () => expect((await hit(store, key)).totalHits).toBe(1), { interval: 110 })
    })

    test('gives back and forgets', async () => {
      const [stores] = create()
      const store = begin(stores, policy())
      const key = randomUUID()
      await hit(store, key, 3)
      await store.decrement(key)
      expect((await hit(store, key)).totalHits).toBe(3)
      await store.resetKey(key)
      expect((await hit(store, key)).totalHits).toBe(1)
    })
  })
}
