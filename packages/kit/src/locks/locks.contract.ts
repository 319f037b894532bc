import { describe, expect, test, vi } from 'vitest'
import type { Lease, Locks } from './locks.ts'

export interface LocksUnderTest {
  /** Two replicas that share what the adapter's scope says they share. */
  one: Locks
  two: Locks
  /** Takes the lock away from its holder, as an expiry would. */
  expire(name: string): Promise<void>
}

let names = 0
const newName = () => `lock-${names++}`

/** What every adapter keeps. */
export function describeLocks(name: string, locks: () => LocksUnderTest): void {
  describe(`locks: ${name}`, () => {
    const take = async (name: string, leaseMs = 2000, by = locks().one) => {
      const lease = await by.acquire(name, { leaseMs })
      expect(lease).toBeDefined()
      return lease as Lease
    }

    test('handed over: whose lease ran out neither frees nor extends the lock of its successor', async () => {
      const name = newName()
      const first = await take(name, 300)
      await locks().expire(name)
      const second = await take(name, 5000, locks().two)
      await vi.waitFor(() => expect(first.signal.aborted).toBe(true), 500)
      await first.release()
      expect(second.fence).toBeGreaterThan(first.fence)
      expect(await locks().one.acquire(name, { leaseMs: 300 })).toBeUndefined()
      expect(second.signal.aborted).toBe(false)
      await second.release()
    })

    test('released at once after a hand-over, it frees nothing of somebody else', async () => {
      const name = newName()
      const first = await take(name)
      await locks().expire(name)
      const second = await take(name, 2000, locks().two)
      await first.release()
      expect(await locks().one.acquire(name, { leaseMs: 300 })).toBeUndefined()
      await second.release()
    })

    test('one holder at a time; free again after its release', async () => {
      const name = newName()
      const lease = await take(name)
      expect(await locks().two.acquire(name, { leaseMs: 2000 })).toBeUndefined()
      await lease.release()
      await lease.release()
      expect(lease.signal.aborted).toBe(false)
      await (await take(name, 2000, locks().two)).release()
    })

    test('other names are other locks', async () => {
      const leases = [await take(newName()), await take(newName())]
      await Promise.all(leases.map((lease) => lease.release()))
    })

    test('outlives its lease for as long as its holder lives', async () => {
      const name = newName()
      const lease = await take(name, 1200)
      for (const until = performance.now() + 3000; performance.now() < until; ) {
        expect(await locks().two.acquire(name, { leaseMs: 1200 })).toBeUndefined()
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
      expect(lease.signal.aborted).toBe(false)
      await lease.release()
    })

    test('waits for its turn, for as long as it may', async () => {
      const name = newName()
      const lease = await take(name)
      const startedAt = performance.now()
      expect(await locks().two.acquire(name, { leaseMs: 2000, waitMs: 150 })).toBeUndefined()
      expect(performance.now() - startedAt).toBeGreaterThanOrEqual(140)
      const waiting = locks().two.acquire(name, { leaseMs: 2000, waitMs: 5000 })
      await lease.release()
      await (await waiting)?.release()
      expect(await waiting).toBeDefined()
    })

    test('a wait can be given up', async () => {
      const name = newName()
      const lease = await take(name)
      const signal = AbortSignal.timeout(30)
      await expect(locks().two.acquire(name, { leaseMs: 2000, waitMs: 60_000, signal })).rejects.toThrow('timeout')
      await lease.release()
    })

    test('under contention no two holders overlap, and fences grow in the order of the holders', async () => {
      const name = newName()
      const fences: bigint[] = []
      let inside = 0
      let overlaps = 0
      const work = async (by: Locks) => {
        for (let round = 0; round < 5; round++) {
          const lease = await by.acquire(name, { leaseMs: 1000, waitMs: 15_000 })
          if (!lease) throw new Error('waited too long')
          if (inside++ > 0) overlaps++
          fences.push(lease.fence)
          await new Promise((resolve) => setTimeout(resolve, Math.random() * 2))
          inside--
          await lease.release()
        }
      }
      await Promise.all([locks().one, locks().two, locks().one, locks().two].map(work))
      expect(overlaps).toBe(0)
      expect(fences).toHaveLength(20)
      expect(fences).toEqual([...fences].sort((a, b) => (a < b ? -1 : 1)))
      expect(new Set(fences).size).toBe(20)
    })
  })
}
