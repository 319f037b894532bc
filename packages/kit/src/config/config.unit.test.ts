import { expect, test } from 'vitest'
import { baseSettings } from './base.ts'
import { flag, integer, readConfig, url } from './config.ts'

const shape = { PORT: integer(1, 65_535, 3000), DATABASE_URL: url('postgres'), FLAG: flag() }

test('defaults, numbers and flags', () => {
  expect(readConfig({ DATABASE_URL: 'postgres://localhost/x', FLAG: '1', PORT: '' }, shape)).toEqual({
    PORT: 3000,
    DATABASE_URL: 'postgres://localhost/x',
    FLAG: true,
  })
})

test('all problems at once, by name and rule, never by value', () => {
  const env = { PORT: '70000', DATABASE_URL: 'mysql://user:hunter2@host/x', FLAG: 'yes' }
  const message = (() => {
    try {
      readConfig(env, shape)
    } catch (error) {
      return (error as Error).message
    }
  })()
  expect(message).toContain('3 problem(s)')
  for (const part of ['PORT: a whole number from 1 to 65535', 'DATABASE_URL: an address', 'FLAG: 1 or 0']) {
    expect(message).toContain(part)
  }
  for (const value of ['70000', 'hunter2', 'mysql', 'yes']) expect(message).not.toContain(value)
})

test.each([
  'redis+sentinel://a:26379/mymaster',
  'sentinel://a:26379',
  'redis://a:6379,b:6379',
  'redis+cluster://a:6379',
  'redis://a:6379/x', // ioredis would take number 0
])('a form of Redis that is not supported is refused by name: %s', (REDIS_URL) => {
  const { REDIS_URL: rule } = baseSettings
  expect(() => readConfig({ REDIS_URL }, { REDIS_URL: rule })).toThrow(
    /Redis Sentinel and Redis Cluster are not supported/,
  )
})

test('bounds that must stand within each other are refused by name when they do not', () => {
  const bounds = { INNER_MS: integer(1, 1000, 10), OUTER_MS: integer(1, 1000, 10) }
  const read = (env: Record<string, string>, times?: number) =>
    readConfig(env, bounds, [{ lesser: 'INNER_MS', greater: 'OUTER_MS', times, why: 'which ends first' }])
  expect(read({})).toEqual({ INNER_MS: 10, OUTER_MS: 10 })
  expect(read({ INNER_MS: '20' }, 2)).toEqual({ INNER_MS: 20, OUTER_MS: 10 })
  expect(() => read({ INNER_MS: '11' })).toThrow('INNER_MS: at most OUTER_MS, which ends first')
  expect(() => read({ OUTER_MS: '4' }, 2)).toThrow('INNER_MS: at most 2 × OUTER_MS, which ends first')
  expect(() => read({ OUTER_MS: 'x' })).toThrow('1 problem(s)')
})
