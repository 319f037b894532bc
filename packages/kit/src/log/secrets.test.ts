import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDriver } from '@escala/testing/environment'
import { createTestDatabase } from '@escala/testing/test-database'
import type { Redis } from 'ioredis'
import { afterAll, beforeAll, beforeEach, expect, inject, test, vi } from 'vitest'
import { kitErrors } from '../errors/errors.ts'
import { createPostgres } from '../postgres/postgres.ts'
import { createRedis, stopRedis } from '../redis/redis.ts'
import { createLog } from './log.ts'

// What real servers say when they refuse, logged as the applications log it.
const secret = 'ana@example.com'
const lines: string[] = []
const log = createLog({
  service: 'test',
  replicaId: 'r1',
  version: '1',
  level: 'trace',
  destination: { write: (line) => void lines.push(line) },
})
const stops: (() => Promise<unknown>)[] = []
let server: { url: string }
let redis: Redis
let admin: Redis // waits until it is connected

beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'escala-secrets-'))
  stops.push(() => rm(folder, { recursive: true, force: true }))
  const running = await (await createDriver(inject('driver'))).startRedis(folder, {})
  stops.push(() => running.stop())
  server = running
  redis = createRedis({ url: running.url, role: 'request', log, timeoutMs: 5000 })
  stops.push(() => stopRedis(redis))
  admin = createRedis({ url: running.url, role: 'blocking', log })
  stops.push(() => stopRedis(admin))
})
afterAll(async () => {
  for (const stop of stops.reverse()) await stop()
})
beforeEach(async () => {
  await vi.waitFor(() => expect(redis.status).toBe('ready'), 5000)
  lines.length = 0
})

const refusals: Record<string, () => Promise<unknown>> = {
  async OOM() {
    await admin.config('SET', 'maxmemory', 1)
    return redis.set(secret, secret).finally(() => admin.config('SET', 'maxmemory', 0))
  },
  NOSCRIPT: () => redis.evalsha('0'.repeat(40), 1, secret, secret),
  WRONGTYPE: () =>
    redis.eval("redis.call('LPUSH', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])", 1, secret, secret),
  'unknown command': () => redis.call('NOSUCH', secret),
  // Last: it makes the client connect again.
  async READONLY() {
    await admin.replicaof('127.0.0.1', 1)
    return redis.set(secret, secret).finally(() => admin.replicaof('NO', 'ONE'))
  },
}

test.each(Object.keys(refusals))('Redis: %s', async (name) => {
  const cause = await refusals[name]?.().catch((error) => error)
  log.error({ err: kitErrors.E_REDIS_UNAVAILABLE({ cause }) }, 'request failed')
  log.error({ err: cause }, 'request failed')
  expect(lines.filter((line) => line.includes(name))).toHaveLength(2)
  expect(lines.join()).not.toContain(secret)
  expect(JSON.parse(lines[1] as string).err.command).toMatch(/^(set|evalsha|eval|NOSUCH)$/i)
})

test.each([
  ['a wrong password', () => server.url.replace('//', '//:ana%40example.com@')],
  ['a wrong user', () => server.url.replace('//', '//ana%40example.com:ana%40example.com@')],
])('Redis: %s', async (_name, url) => {
  await admin.config('SET', 'requirepass', 'the right one')
  const stranger = createRedis({ url: url(), role: 'request', log })
  await vi.waitFor(() => expect(lines.join()).toContain('WRONGPASS'), 5000)
  await stopRedis(stranger)
  await admin.config('SET', 'requirepass', '')
  expect(lines.join()).not.toMatch(/ana(@|%40)example/)
})

test('Postgres: what is there already, and what cannot be read', async () => {
  const { url, drop } = await createTestDatabase(inject('postgresUrl'))
  const postgres = createPostgres({ url, log, applicationName: 'test', maxConnections: 1, timeoutMs: 5000 })
  await postgres.query('CREATE TABLE users (email text PRIMARY KEY, age int)')
  const add = () => postgres.query('INSERT INTO users VALUES ($1, 1)', [secret])
  await add()
  for (const work of [add(), postgres.query('SELECT $1::uuid', [secret]), postgres.query('SELECT $1::int', [secret])]) {
    const cause = await work.catch((error) => error)
    log.error({ err: cause }, 'request failed')
    log.error({ err: kitErrors.E_INTERNAL({ cause }) }, 'request failed')
  }
  expect(JSON.parse(lines.find((line) => line.includes('23505')) as string).err).toMatchObject({
    code: '23505',
    constraint: 'users_pkey',
    table: 'users',
  })
  expect(lines.join()).toContain('invalid input syntax for type uuid …')
  expect(lines.join()).not.toContain(secret)
  await postgres.stop()
  await drop()
})

test('what is no error shows nothing of itself', () => {
  log.error({ err: { password: secret } }, 'thrown')
  log.error({ err: secret }, 'thrown')
  expect(lines.join()).not.toContain(secret)
})
