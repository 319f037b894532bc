import { startFaultProxy } from '@escala/testing/fault-proxy'
import { createTestDatabase, type TestDatabase, withClient } from '@escala/testing/test-database'
import { afterEach, beforeAll, expect, inject, test, vi } from 'vitest'
import { createLog } from '../log/log.ts'
import { type Connections, createConnections } from './connections.ts'
import { createPostgres, type Postgres, type PostgresOptions, type Statement } from './postgres.ts'

const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
const stops: (() => Promise<unknown>)[] = []
let database: TestDatabase
let connections: Connections
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  await withClient(database.url, (client) =>
    client.query('CREATE TABLE things AS SELECT n AS id FROM generate_series(1, 1000) AS n'),
  )
  return () => database.drop()
})
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop()
})

function create(options: Partial<PostgresOptions> = {}): Postgres {
  connections = createConnections({ log })
  const fixed = { url: database.url, log, applicationName: 'shared', maxConnections: 4, timeoutMs: 2000 }
  const postgres = createPostgres({ ...fixed, connections, ...options })
  stops.push(postgres.stop)
  return postgres
}

const pid: Statement = { name: 'shared-pid', shared: true, text: 'SELECT $1::int AS n, pg_backend_pid() AS pid' }
const slow: Statement = { name: 'shared-slow', shared: true, text: 'SELECT pg_sleep($1::float8)' }
const broken: Statement = { name: 'shared-broken', shared: true, text: 'SELECT 1 / $1::int AS n' }

const ask = async (postgres: Postgres, n: number) =>
  (await postgres.query<{ n: number; pid: number }>(pid, [n])).rows[0]
const askAll = (postgres: Postgres, count: number) =>
  Promise.all(Array.from({ length: count }, (_, n) => ask(postgres, n)))

/** Resolves when a connection is shared. */
async function warm(postgres: Postgres): Promise<number> {
  return vi.waitFor(async () => {
    const pids = new Set((await askAll(postgres, 20)).map((row) => row?.pid))
    expect(pids.size).toBe(1)
    return [...pids][0] as number
  }, 5000)
}

test('many small reads at once go over one connection, each with its own answer', async () => {
  const postgres = create()
  const shared = await warm(postgres)
  const rows = await askAll(postgres, 300)
  expect(rows).toEqual(rows.map((_, n) => ({ n, pid: shared })))
  expect(postgres.stats()).toMatchObject({ waiting: 0 })
  expect(postgres.stats().total - postgres.stats().idle).toBe(1)
})

test('what changes something, or is no statement of that kind, does not', async () => {
  const postgres = create()
  const shared = await warm(postgres)
  const { rows } = await postgres.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
  expect(rows[0]?.pid).not.toBe(shared)
  await postgres.transaction(async (tx) => {
    expect((await tx.query<{ pid: number }>(pid, [1])).rows[0]?.pid).not.toBe(shared)
  })
})

test.each([
  'UPDATE things SET id = id WHERE id = $1',
  'WITH taken AS (DELETE FROM things WHERE id = $1 RETURNING id) SELECT id FROM taken',
  'SELECT id FROM things WHERE id = $1 FOR NO KEY UPDATE',
  'SELECT id FROM things WHERE id = $1 for share',
  'SELECT pg_advisory_xact_lock($1::int)',
])('what could wait for a lock is refused: %s', async (text) => {
  const postgres = create()
  await warm(postgres)
  const waiting: Statement = { name: `waiting-${text.length}`, shared: true, text }
  await expect(postgres.query(waiting, [1])).rejects.toThrow('must not share a connection')
})

test('one that fails does not touch those before and behind it', async () => {
  const postgres = create()
  const shared = await warm(postgres)
  const [before, failure, after] = await Promise.all([
    ask(postgres, 1),
    postgres.query(broken, [0]).catch((error) => error),
    ask(postgres, 2),
  ])
  expect([before, after]).toEqual([
    { n: 1, pid: shared },
    { n: 2, pid: shared },
  ])
  expect(failure).toMatchObject({ code: '22012' })
  expect(await warm(postgres)).toBe(shared)
})

test('what was under way on a lost connection is sent again', async () => {
  const postgres = create()
  const shared = await warm(postgres)
  const held = postgres.query(slow, [0.3])
  const behind = askAll(postgres, 50)
  await withClient(database.url, (client) => client.query('SELECT pg_terminate_backend($1)', [shared]))
  await expect(held).resolves.toMatchObject({ rowCount: 1 })
  expect((await behind).map((row) => row?.n)).toEqual(Array.from({ length: 50 }, (_, n) => n))
  expect(await warm(postgres)).not.toBe(shared)
})

test('a connection that went silent costs the statements under way their time, and none after them', async () => {
  const proxy = await startFaultProxy({ target: database.url })
  stops.push(() => proxy.stop())
  const postgres = create({ url: proxy.url, timeoutMs: 500 })
  await warm(postgres)
  proxy.silence()
  await Promise.allSettled(Array.from({ length: 10 }, (_, n) => ask(postgres, n)))
  expect((await askAll(postgres, 50)).map((row) => row?.n)).toEqual(Array.from({ length: 50 }, (_, n) => n))
})

test('one that takes too long is given up, and those behind it are answered', async () => {
  const postgres = create({ timeoutMs: 600 })
  await warm(postgres)
  const late = postgres.query(slow, [5]).catch((error) => error)
  await new Promise((next) => setTimeout(next, 300))
  expect((await askAll(postgres, 20)).map((row) => row?.n)).toEqual(Array.from({ length: 20 }, (_, n) => n))
  expect(await late).toMatchObject({ code: 'E_POSTGRES_UNAVAILABLE' })
})

test('others do not join one that has not answered for a while', async () => {
  const postgres = create()
  const shared = await warm(postgres)
  const held = postgres.query(slow, [1])
  await new Promise((next) => setTimeout(next, 200))
  let isOver = false
  const late = held.then(() => {
    isOver = true
  })
  const rows = await askAll(postgres, 20)
  expect(isOver).toBe(false)
  expect(rows.map((row) => row?.pid)).not.toContain(shared)
  await late
  expect(await warm(postgres)).toBe(shared)
})

test('it is left when connections are retired, at its age, and when it is idle', async () => {
  const postgres = create()
  const shared = await warm(postgres)
  connections.retire(connections.generation(), 'test')
  expect(await warm(postgres)).not.toBe(shared)
  const aging = create({ lifetimeMs: 300 })
  const young = await warm(aging)
  await vi.waitFor(async () => expect((await ask(aging, 1))?.pid).not.toBe(young), 5000)
})

test.each([
  ['a small pool', { maxConnections: 3 }],
  ['a pooler without named statements', { namedStatements: false }],
])('%s shares none', async (_what, options) => {
  const postgres = create(options)
  for (let round = 0; round < 5; round++) await askAll(postgres, 10)
  expect(postgres.stats().total - postgres.stats().idle).toBe(0)
})

test('a stop waits for what is under way, and leaves no connection', async () => {
  const postgres = create({ applicationName: 'stopped' })
  await warm(postgres)
  const held = postgres.query(slow, [0.2])
  await postgres.stop()
  await expect(held).resolves.toMatchObject({ rowCount: 1 })
  await vi.waitFor(async () => {
    const left = `SELECT FROM pg_stat_activity WHERE application_name = 'stopped' AND datname = current_database()`
    expect((await withClient(database.url, (client) => client.query(left))).rowCount).toBe(0)
  })
})
