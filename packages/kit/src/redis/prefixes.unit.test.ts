import { expect, test } from 'vitest'
import { redisPrefixes } from './prefixes.ts'

test('escala keeps the keys that running systems have', () => {
  expect(redisPrefixes('escala')).toEqual({
    sessions: 'session:',
    rateLimits: 'rate-limit:',
    logIns: 'log-in:',
    locks: 'lock:',
    carts: 'cart:',
    cache: 'escala:cache',
    flags: 'escala:flags',
    events: 'escala:{events}',
    jobs: '{escala}',
  })
})

test('two applications share no key', () => {
  const [one, other] = ['shop', 'shop-eu'].map((name) => Object.values(redisPrefixes(name))) as [string[], string[]]
  const all = [...one, ...other, ...Object.values(redisPrefixes('escala'))]
  const clashes = all.flatMap((prefix) => all.filter((longer) => longer !== prefix && longer.startsWith(prefix)))
  expect(clashes).toEqual([])
  expect(new Set(all).size).toBe(3 * one.length)
})
