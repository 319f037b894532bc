import { pino } from 'pino'
import { expect, test } from 'vitest'
import { createMemoryCache } from '../cache/memory.ts'
import { createMemoryLocks } from '../locks/memory.ts'
import { countLocks, countReads } from './counted.ts'

const log = pino({ level: 'silent' })

test('a read is a hit, a load or an error', async () => {
  const cache = countReads(createMemoryCache({ log, maxEntries: 10, maxBytes: 1000 }))
  const reading = { load: async () => 1, freshMs: 10_000, staleMs: 0 }
  for (let reads = 0; reads < 3; reads++) expect(await cache.get('a', reading)).toBe(1)
  await expect(cache.get('b', { ...reading, load: () => Promise.reject(new Error('away')) })).rejects.toThrow('away')
  expect(cache.reads()).toEqual({ hit: 2, load: 1, error: 1 })
  await cache.stop()
})

test('a lock is acquired, busy or lost', async () => {
  const locks = countLocks(createMemoryLocks({ log }))
  const lease = await locks.acquire('a', { leaseMs: 10_000 })
  expect(await locks.acquire('a', { leaseMs: 10_000 })).toBeUndefined()
  await lease?.release()
  expect(locks.uses()).toEqual({ acquired: 1, busy: 1, lost: 0, error: 0 })
})
