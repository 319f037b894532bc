import { pino } from 'pino'
import { expect, test } from 'vitest'
import { countReads } from './counted.ts'
import { createMemoryCache } from './memory.ts'

const log = pino({ level: 'silent' })

test('a read is a hit, a load or an error', async () => {
  const cache = countReads(createMemoryCache({ log, maxEntries: 10, maxBytes: 1000 }))
  const reading = { load: async () => 1, freshMs: 10_000, staleMs: 0 }
  for (let reads = 0; reads < 3; reads++) expect(await cache.get('a', reading)).toBe(1)
  await expect(cache.get('b', { ...reading, load: () => Promise.reject(new Error('away')) })).rejects.toThrow('away')
  expect(cache.reads()).toEqual({ hit: 2, load: 1, error: 1 })
  await cache.stop()
})
