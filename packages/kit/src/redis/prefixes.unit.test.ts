import { expect, test } from 'vitest'
import { redisPrefixes } from './prefixes.ts'

test('escala keeps the keys that running systems have', () => {
  expect(redisPrefixes('escala')).toEqual({
    sessions: 'session:',
    rateLimits: 'rate-limit:',
    logIns: 'log-in:',
    locks: 'lock:',
    sessionState: { prefix: '', taken: expect.arrayContaining(['session', 'escala']) },
    of: expect.any(Function),
    cache: 'escala:cache',
    flags: 'escala:flags',
    events: 'escala:{events}',
    jobs: '{escala}',
  })
})

test('two applications share no key', () => {
  const of = (name: string) => {
    const { sessionState, of: capability, ...prefixes } = redisPrefixes(name)
    return [...Object.values(prefixes), capability('quotas'), capability('draft'), `${sessionState.prefix}draft:`]
  }
  const one = of('shop')
  const all = [...one, ...of('shop-eu'), ...of('escala')]
  const clashes = all.flatMap((prefix) => all.filter((longer) => longer !== prefix && longer.startsWith(prefix)))
  expect(clashes).toEqual([])
  expect(new Set(all).size).toBe(3 * one.length)
})

test.each(['escala', 'shop'])('in %s no record of a module lies among the keys of something else', (appName) => {
  const { sessionState, of: capability, ...prefixes } = redisPrefixes(appName)
  const { prefix, taken } = sessionState
  const names = [...Object.values(prefixes), capability('quotas')].flatMap((other) =>
    other.startsWith(prefix) ? [/^[a-z-]+/.exec(other.slice(prefix.length))?.[0] ?? []].flat() : [],
  )
  expect(names.length).toBeGreaterThan(3)
  expect(taken).toEqual(expect.arrayContaining(names))
})
