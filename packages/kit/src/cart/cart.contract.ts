import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import type { CartOptions, Carts } from './cart.ts'

/** `replicas`: the same carts, seen from two replicas (one and the same for an adapter that lives in one process). */
export function describeCarts(name: string, create: (options?: CartOptions) => { replicas: [Carts, Carts] }): void {
  describe(name, () => {
    test('puts, changes and removes single items', async () => {
      const { replicas } = create()
      const key = randomUUID()
      expect(await replicas[0].get(key)).toEqual({})
      expect(await replicas[0].put(key, 'a', 2)).toEqual({ a: 2 })
      expect(await replicas[1].put(key, 'b', 1)).toEqual({ a: 2, b: 1 })
      expect(await replicas[0].put(key, 'a', 0)).toEqual({ b: 1 })
      expect(await replicas[1].get(key)).toEqual({ b: 1 })
      expect(await replicas[1].get(randomUUID())).toEqual({})
    })

    test('parallel writes of different items lose nothing', async () => {
      const { replicas } = create({ maxItems: 200 })
      const key = randomUUID()
      const items = Array.from({ length: 200 }, (_, i) => `item-${i}`)
      await Promise.all(items.map((item, i) => replicas[i % 2 ? 1 : 0].put(key, item, i + 1)))
      expect(await replicas[0].get(key)).toEqual(Object.fromEntries(items.map((item, i) => [item, i + 1])))
    })

    test('takes no more than so many items, and still changes those that are there', async () => {
      const { replicas } = create({ maxItems: 2 })
      const key = randomUUID()
      await replicas[0].put(key, 'a', 1)
      await replicas[0].put(key, 'b', 1)
      expect(await replicas[0].put(key, 'c', 1)).toBeUndefined()
      expect(await replicas[0].put(key, 'a', 5)).toEqual({ a: 5, b: 1 })
    })

    test('clears one cart, not another', async () => {
      const { replicas } = create()
      const [key, other] = [randomUUID(), randomUUID()]
      await replicas[0].put(key, 'a', 1)
      await replicas[0].put(other, 'a', 1)
      await replicas[1].clear(key)
      expect(await replicas[0].get(key)).toEqual({})
      expect(await replicas[0].get(other)).toEqual({ a: 1 })
    })

    test("a visitor's is gone sooner, and a look or a change after log-in keeps it", async () => {
      const { replicas } = create({ visitorIdleMs: 400 })
      const [visitor, looker, writer] = [randomUUID(), randomUUID(), randomUUID()]
      for (const key of [visitor, looker, writer]) await replicas[0].put(key, 'a', 1, { isVisitor: true })
      expect(await replicas[1].get(looker)).toEqual({ a: 1 })
      expect(await replicas[1].put(writer, 'b', 1)).toEqual({ a: 1, b: 1 })
      await wait(450)
      expect(await replicas[1].get(visitor, { isVisitor: true })).toEqual({})
      expect([await replicas[0].get(looker), await replicas[0].get(writer)]).toEqual([{ a: 1 }, { a: 1, b: 1 }])
    })

    test('is gone after the idle time, which each look renews, whoever looks', async () => {
      const { replicas } = create({ idleMs: 1500, visitorIdleMs: 1500 })
      const one = async (isVisitor: boolean) => {
        const [key, other] = [randomUUID(), randomUUID()]
        for (const cart of [key, other]) await replicas[0].put(cart, 'a', 1, { isVisitor })
        for (let look = 0; look < 4; look++) {
          await wait(400)
          expect(await replicas[1].get(key, { isVisitor })).toEqual({ a: 1 })
        }
        expect(await replicas[1].get(other, { isVisitor })).toEqual({})
      }
      await Promise.all([one(false), one(true)])
    })
  })
}
