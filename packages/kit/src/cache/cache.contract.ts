import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { Cache, Reading } from './cache.ts'

export interface Price {
  version: number
  cents: number
}

/** A source that counts its loads, can be slow, and can fail. */
export function createSource() {
  const source = {
    value: { version: 1, cents: 100 } as Price | undefined,
    loads: 0,
    ms: 0,
    error: undefined as Error | undefined,
    reading: (over: Partial<Reading<Price>> = {}): Reading<Price> => ({
      freshMs: 10_000,
      staleMs: 0,
      version: (price) => price.version,
      async load() {
        source.loads++
        const value = source.value
        if (source.ms > 0) await wait(source.ms)
        if (source.error) throw source.error
        return value
      },
      ...over,
    }),
  }
  return source
}

let keys = 0
export const newKey = () => `key-${++keys}`

/** What every adapter keeps. */
export function describeCache(name: string, create: () => Promise<{ cache: Cache; stop(): Promise<void> }>): void {
  describe(`cache: ${name}`, () => {
    let cache: Cache
    let stop: () => Promise<void>
    beforeAll(async () => {
      ;({ cache, stop } = await create())
    })
    afterAll(() => stop())

    test('loads once, for all who ask at the same time and for those who come later', async () => {
      const [key, source] = [newKey(), createSource()]
      source.ms = 30
      const values = await Promise.all(Array.from({ length: 50 }, () => cache.get(key, source.reading())))
      expect(new Set(values)).toEqual(new Set([{ version: 1, cents: 100 }]))
      expect(await cache.get(key, source.reading())).toEqual({ version: 1, cents: 100 })
      expect(source.loads).toBe(1)
    })

    test('a value is frozen: one reader cannot change it for the others', async () => {
      const value = await cache.get(newKey(), createSource().reading())
      expect(() => Object.assign(value as Price, { cents: 1 })).toThrow(TypeError)
    })

    test('an absence is remembered, for a shorter time', async () => {
      const [key, source] = [newKey(), createSource()]
      source.value = undefined
      const reading = source.reading({ absentMs: 100 })
      expect(await cache.get(key, reading)).toBeUndefined()
      expect(await cache.get(key, reading)).toBeUndefined()
      expect(source.loads).toBe(1)
      source.value = { version: 1, cents: 5 }
      await vi.waitFor(async () => expect(await cache.get(key, reading)).toEqual(source.value))
    })

    test('a value that is no longer fresh is answered at once, while one load renews it', async () => {
      const [key, source] = [newKey(), createSource()]
      const reading = source.reading({ freshMs: 40, staleMs: 10_000 })
      await cache.get(key, reading)
      source.value = { version: 2, cents: 200 }
      source.ms = 1000
      await wait(50)
      const startedAt = performance.now()
      const values = await Promise.all(Array.from({ length: 20 }, () => cache.get(key, reading)))
      expect(performance.now() - startedAt).toBeLessThan(900)
      for (const value of values) expect(value).toEqual({ version: 1, cents: 100 })
      await vi.waitFor(
        async () => expect(await cache.get(key, { ...reading, freshMs: 10_000 })).toEqual(source.value),
        5000,
      )
      expect(source.loads).toBeLessThanOrEqual(3)
    })

    test('with staleMs 0, no caller gets a value that is older than freshMs', async () => {
      const [key, source] = [newKey(), createSource()]
      const reading = source.reading({ freshMs: 40, staleMs: 0 })
      await cache.get(key, reading)
      source.value = { version: 1, cents: 200 }
      await wait(45)
      expect(await cache.get(key, reading)).toEqual({ version: 1, cents: 200 })
    })

    test('an invalidated value is loaded again', async () => {
      const [key, source] = [newKey(), createSource()]
      await cache.get(key, source.reading())
      source.value = { version: 2, cents: 200 }
      await cache.invalidate(key, 2)
      expect(await cache.get(key, source.reading())).toEqual(source.value)
      source.value = undefined
      await cache.invalidate(key)
      expect(await cache.get(key, source.reading())).toBeUndefined()
    })

    test('a late invalidation for what is cached already costs nothing', async () => {
      const [key, source] = [newKey(), createSource()]
      await cache.get(key, source.reading())
      await cache.invalidate(key, 1)
      await cache.get(key, source.reading())
      expect(source.loads).toBe(1)
    })

    for (const versioned of [true, false]) {
      test(`a load from before a change does not bring the old value back (${versioned ? 'with' : 'without'} a version)`, async () => {
        const [key, source] = [newKey(), createSource()]
        const reading = source.reading(versioned ? {} : { version: undefined })
        source.ms = 80
        const before = cache.get(key, reading)
        await vi.waitFor(() => expect(source.loads).toBe(1))
        source.value = { version: 2, cents: 200 }
        await cache.invalidate(key, versioned ? 2 : undefined)
        expect(await cache.get(key, reading)).toEqual(source.value)
        await before
        expect(await cache.get(key, reading)).toEqual(source.value)
        await wait(20)
        expect(await cache.get(key, reading)).toEqual(source.value)
      })
    }

    test('a failure reaches every waiting caller, and is not kept', async () => {
      const [key, source] = [newKey(), createSource()]
      source.error = new Error('down')
      const asked = Array.from({ length: 5 }, () => cache.get(key, source.reading()))
      for (const result of await Promise.allSettled(asked)) expect(result).toMatchObject({ reason: source.error })
      expect(source.loads).toBe(1)
      source.error = undefined
      expect(await cache.get(key, source.reading())).toEqual(source.value)
    })

    test('a failure is covered by the old value, while that is allowed', async () => {
      const [key, source] = [newKey(), createSource()]
      const reading = source.reading({ freshMs: 20, staleMs: 10_000 })
      await cache.get(key, reading)
      source.error = new Error('down')
      await wait(25)
      for (let i = 0; i < 5; i++) expect(await cache.get(key, reading)).toEqual({ version: 1, cents: 100 })
    })

    test('a load that hangs is aborted and reported', async () => {
      let aborted = false
      const load = (signal: AbortSignal) => {
        signal.addEventListener('abort', () => (aborted = true))
        return new Promise<undefined>(() => {})
      }
      const asked = cache.get(newKey(), { load, freshMs: 1000, staleMs: 0, loadTimeoutMs: 50 })
      await expect(asked).rejects.toMatchObject({ code: 'E_TIMEOUT' })
      expect(aborted).toBe(true)
    })
  })
}
