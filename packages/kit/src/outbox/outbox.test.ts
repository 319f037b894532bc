import { randomUUID } from 'node:crypto'
import { countStatements } from '@escala/testing/count-statements'
import { createTestDatabase, type TestDatabase } from '@escala/testing/test-database'
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, test, vi } from 'vitest'
import { createBullmqConsumer, createBullmqQueue } from '../jobs/bullmq.ts'
import type { Job, NewJob } from '../jobs/jobs.ts'
import { createLog } from '../log/log.ts'
import { createListener } from '../postgres/listen.ts'
import { kitMigrations, migrate } from '../postgres/migrations.ts'
import { createPostgres, type Postgres } from '../postgres/postgres.ts'
import { createRedis, stopRedis } from '../redis/redis.ts'
import { cleanOutbox } from './delete-published.ts'
import type { Relay } from './outbox.ts'
import { createPostgresOutbox } from './postgres.ts'
import { createRelay, type RelayOptions } from './relay.ts'
import { republishLost } from './republish-lost.ts'
import { statements } from './statements.ts'

const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
const outbox = createPostgresOutbox()
let database: TestDatabase
let postgres: Postgres
let relays: Relay[]
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  await migrate({ url: database.url, folders: [kitMigrations], log })
  const options = { url: database.url, log, applicationName: 'test', maxConnections: 10, timeoutMs: 5000 }
  postgres = createPostgres(options)
})
beforeEach(() => {
  relays = []
})
afterEach(async () => {
  await Promise.all(relays.map((relay) => relay.stop()))
  await postgres.query('DELETE FROM outbox')
})
afterAll(async () => {
  await postgres.stop()
  await database.drop()
})

const noLoss = async () => []
/** A queue that takes what `add` takes. */
const queueOf = (add: (job: NewJob) => Promise<void>) => ({
  add,
  addAll: async (jobs: NewJob[]) => void (await Promise.all(jobs.map(add))),
  missing: noLoss,
})
/** Starts a relay whose queue is `add`. */
function relay(add: (job: NewJob) => Promise<void>, options: Partial<RelayOptions> = {}) {
  const created = createRelay({ postgres, queue: queueOf(add), log, pollMs: 30, ...options })
  created.start()
  relays.push(created)
  return created
}
const add = (aggregate: string, n: number) =>
  postgres.transaction((tx) => outbox.add(tx, { type: 'order.charge', aggregate, payload: { n }, requestId: 'r1' }))
const waiting = async () => (await createRelay({ postgres, queue: queueOf(async () => {}), log }).lag()).waiting

test('a message is published after its transaction commits, under an id that names its type', async () => {
  const seen: NewJob[] = []
  relay(async (job) => void seen.push(job))
  const id = await add('a', 1)
  await vi.waitFor(() => expect(seen).toHaveLength(1))
  expect(seen[0]).toEqual({
    id: `order.charge-${id}`,
    type: 'order.charge',
    aggregate: 'a',
    payload: { n: 1 },
    requestId: 'r1',
  })
  await vi.waitFor(async () => expect(await waiting()).toBe(0))
})

test('a transaction that rolls back publishes nothing', async () => {
  const rolledBack = postgres.transaction(async (tx) => {
    await outbox.add(tx, { type: 'order.charge', aggregate: 'a', payload: null })
    throw new Error('refused')
  })
  await expect(rolledBack).rejects.toThrow('refused')
  expect(await waiting()).toBe(0)
})

test('the insert can be a part of a larger statement', async () => {
  await postgres.query(
    `WITH taken AS (SELECT 'a' AS id), messages AS (${outbox.insert(`SELECT 'order.charge', id, '{"n": 7}'::json, NULL, NULL FROM taken`)})
     SELECT FROM taken`,
  )
  const seen: NewJob[] = []
  relay(async (job) => void seen.push(job))
  await vi.waitFor(() => expect(seen).toMatchObject([{ payload: { n: 7 }, requestId: undefined }]))
})

test('a type that no job id can carry is refused when it is written', async () => {
  const message = { type: 'order:charge', aggregate: 'a', payload: null }
  await expect(postgres.transaction((tx) => outbox.add(tx, message))).rejects.toThrow('outbox_type_check')
})

test('three relays share the work, and keep the order of each aggregate', async () => {
  const seen: string[] = []
  for (let n = 0; n < 10; n++) {
    await Promise.all(Array.from({ length: 12 }, (_, aggregate) => add(`aggregate-${aggregate}`, n)))
  }
  const adding = (name: string) => async (job: NewJob) => {
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 5))
    seen.push(`${name} ${job.id} ${(job.payload as { n: number }).n}`)
  }
  for (const name of ['r1', 'r2', 'r3']) relay(adding(name), { batch: 4 })
  await vi.waitFor(async () => expect(await waiting()).toBe(0), 5000)
  expect(seen).toHaveLength(120)
  const { rows } = await postgres.query<{ id: string; aggregate: string }>('SELECT id, aggregate FROM outbox')
  const aggregateOf = new Map(rows.map(({ id, aggregate }) => [`order.charge-${id}`, aggregate]))
  const order = new Map<string, number[]>()
  for (const line of seen) {
    const [, id = '', n] = line.split(' ')
    const aggregate = aggregateOf.get(id) ?? ''
    order.set(aggregate, [...(order.get(aggregate) ?? []), Number(n)])
  }
  for (const numbers of order.values()) expect(numbers).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
})

test('a relay that dies between publishing and marking publishes again, under the same id', async () => {
  const seen: string[] = []
  let kills = 0
  const applicationName = 'doomed'
  const doomed = createPostgres({ url: database.url, log, applicationName, maxConnections: 1, timeoutMs: 2000 })
  const publish = async ({ id }: NewJob) => {
    seen.push(id)
    if (kills++ < 5) {
      const kill = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1`
      await postgres.query(kill, [applicationName])
    }
  }
  const id = await add('a', 1)
  relay(publish, { postgres: doomed })
  await vi.waitFor(async () => expect(await waiting()).toBe(0), 5000)
  expect(seen.length).toBeGreaterThanOrEqual(6)
  expect(new Set(seen)).toEqual(new Set([`order.charge-${id}`]))
  await relays.pop()?.stop()
  await doomed.stop()
})

test('what is behind a refused message of its aggregate waits for it', async () => {
  const seen: unknown[] = []
  let refused = 0
  for (const n of [1, 2, 3]) await add('a', n)
  relay(async ({ payload }) => {
    const { n } = payload as { n: number }
    if (n === 1 && refused++ < 3) throw new Error('refused')
    seen.push(n)
  })
  await vi.waitFor(async () => expect(await waiting()).toBe(0), 5000)
  expect(seen).toEqual([1, 2, 3])
})

test('while the queue is down nothing is lost, and other aggregates do not wait for a message that is refused', async () => {
  const seen: string[] = []
  let away = true
  const refused = await add('refused', 1)
  const ids = await Promise.all([add('a', 1), add('b', 1)])
  relay(async ({ id }) => {
    if (away || id.endsWith(refused)) throw new Error('away')
    seen.push(id)
  })
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(await waiting()).toBe(3)
  away = false
  await vi.waitFor(async () => expect(await waiting()).toBe(1))
  expect(new Set(seen)).toEqual(new Set(ids.map((id) => `order.charge-${id}`)))
})

test('aggregates whose messages are refused do not hide the others, however many they are', async () => {
  const seen: unknown[] = []
  for (const aggregate of ['a', 'b', 'c', 'd', 'e']) await add(aggregate, 1)
  relay(
    async ({ aggregate = '' }) => {
      if (aggregate < 'd') throw new Error('refused')
      seen.push(aggregate)
    },
    { batch: 2 },
  )
  await vi.waitFor(() => expect(new Set(seen)).toEqual(new Set(['d', 'e'])))
})

test('a hint spares the wait for the poll', async () => {
  const seen: NewJob[] = []
  const connected = Promise.withResolvers<void>()
  const listen = (wake: () => void) =>
    createListener({
      url: database.url,
      applicationName: 'relay',
      log,
      channels: { outbox: wake },
      onConnect: connected.resolve,
    })
  relay(async (job) => void seen.push(job), { pollMs: 60_000, listen })
  await connected.promise
  await add('a', 1)
  await vi.waitFor(() => expect(seen).toHaveLength(1))
})

test('a batch takes five statements and one round trip to the queue, however many messages', async () => {
  for (let n = 0; n < 80; n++) await addMany(`aggregate-${n}`, n < 3 ? 2 : 1)
  const { postgres: counted, asked } = countStatements(postgres)
  const together: number[] = []
  const alone: string[] = []
  const queue = {
    ...queueOf(async ({ id }) => void alone.push(id)),
    addAll: async (jobs: NewJob[]) => void together.push(jobs.length),
  }
  relay(async () => {}, { postgres: counted, queue, pollMs: 60_000, verifyMs: 60_000 })
  await vi.waitFor(async () => expect(await waiting()).toBe(0), 5000)
  expect(together).toEqual([80, 3]) // of an aggregate the second waits for the first
  expect(alone).toEqual([])
  const own = asked.slice(asked.indexOf('outbox-heads'))
  expect(own.slice(0, 5)).toEqual(['outbox-heads', 'BEGIN', 'outbox-take', 'outbox-mark', 'COMMIT'])
})

test('what cannot be added together is added by itself, and only what is refused stays', async () => {
  for (const aggregate of ['a', 'b', 'c']) await addMany(aggregate, 2)
  const added: string[] = []
  const queue = {
    ...queueOf(async ({ aggregate = '', payload }) => {
      if (aggregate === 'b') throw new Error('refused')
      added.push(`${aggregate} ${(payload as { n: number }).n}`)
    }),
    addAll: () => Promise.reject(new Error('one of them is refused')),
  }
  relay(async () => {}, { queue })
  await vi.waitFor(async () => expect(await waiting()).toBe(2), 5000)
  expect(added.toSorted()).toEqual(['a 1', 'a 2', 'c 1', 'c 2'])
})

test('a message that is refused holds up no other aggregate, however steadily others come', async () => {
  for (const aggregate of ['a', 'b', 'c', 'd']) await addMany(aggregate, 1)
  const seen: unknown[] = []
  const take = async ({ aggregate = '' }: NewJob) => {
    if (aggregate === 'a') throw new Error('refused')
    seen.push(aggregate)
    if (aggregate > 'b') await add(aggregate, 1) // its next message, so that the next page is always full and all right
  }
  const addAll = async (jobs: NewJob[]) => {
    if (jobs.some(({ aggregate }) => aggregate === 'a')) throw new Error('one of them is refused')
    for (const job of jobs) await take(job)
  }
  relay(take, { queue: { add: take, addAll, missing: noLoss }, batch: 2 })
  await vi.waitFor(() => expect(seen).toContain('b'), 3000)
  await relays.pop()?.stop()
})

test('a queue that is down is asked once while rows are locked, however many messages there are', async () => {
  for (const aggregate of ['a', 'b', 'c']) await addMany(aggregate, 2)
  const { postgres: counted, asked } = countStatements(postgres)
  const away = (what: string) => () => {
    asked.push(what)
    return Promise.reject(new Error('away'))
  }
  const queue = { add: away('add'), addAll: away('addAll'), missing: noLoss }
  relay(async () => {}, { postgres: counted, queue, verifyMs: 60_000 })
  const batches = () =>
    asked
      .join(' ')
      .split('outbox-heads BEGIN outbox-take')
      .slice(1, 4)
      .map((batch) => batch.trim())
  await vi.waitFor(() => expect(asked.filter((name) => name === 'BEGIN').length).toBeGreaterThan(3), 5000)
  expect(batches()).toEqual(['addAll COMMIT', 'add add add COMMIT', 'add add add COMMIT'])
})

test('a message without a hint is found soon when others were published just before, whatever the poll', async () => {
  const seen: unknown[] = []
  relay(async ({ payload }) => void seen.push((payload as { n: number }).n), { pollMs: 60_000, verifyMs: 60_000 })
  await add('a', 1) // before the first poll, or soon after it
  await vi.waitFor(() => expect(seen).toEqual([1]), 3000)
  await add('b', 2)
  await vi.waitFor(() => expect(seen).toEqual([1, 2]), 3000)
})

test('an idle relay asks once for each poll, and later and later until then', async () => {
  const { postgres: counted, asked } = countStatements(postgres)
  relay(async () => {}, { postgres: counted, pollMs: 400, verifyMs: 60_000 })
  const polls = () => asked.filter((name) => name === 'outbox-heads').length
  await vi.waitFor(() => expect(polls()).toBe(5), 5000) // at once, and after 50, 100, 200 and 400 ms
  const before = polls()
  await new Promise((resolve) => setTimeout(resolve, 1500)) // nothing to wait for: that little happens is the point
  expect(polls() - before).toBeLessThanOrEqual(5)
  expect(new Set(asked)).toEqual(new Set(['outbox-heads', 'outbox-published']))
})

test('reports how far behind it is, and deletes what was published long ago', async () => {
  const idle = createRelay({ postgres, queue: queueOf(async () => {}), log })
  await add('a', 1)
  await postgres.query(`UPDATE outbox SET created_at = now() - interval '10 seconds'`)
  const { waiting: count, oldestMs } = await idle.lag()
  expect(count).toBe(1)
  await addMany('b', 3000)
  expect(await idle.lag()).toMatchObject({ waiting: 2000 }) // not counted further
  expect(oldestMs).toBeGreaterThanOrEqual(10_000)
  expect(await cleanOutbox(postgres, 0)).toBe(0)
  await postgres.query(`UPDATE outbox SET published_at = now() - interval '25 hours'`)
  expect(await cleanOutbox(postgres)).toBe(3001)
})

/** Adds so many messages of one aggregate. */
const addMany = (aggregate: string, count: number) =>
  postgres.query(
    `INSERT INTO outbox (type, aggregate, payload) SELECT 'order.charge', $1, json_build_object('n', n) FROM generate_series(1, $2) AS n`,
    [aggregate, count],
  )

test('many waiting messages of one aggregate are published in order, and hold up no other', async () => {
  const many = 20_000
  await addMany('large', many)
  await addMany('m-small', 1)
  await postgres.query('ANALYZE outbox')
  const seen: number[] = []
  const others = new Map<string, number>()
  const { promise: half, resolve } = Promise.withResolvers<void>()
  relay(async ({ aggregate = '', payload }) => {
    const { n } = payload as { n: number }
    if (aggregate !== 'large') others.set(`${aggregate} ${n}`, seen.length)
    else if (seen.push(n) === many / 2) resolve()
  })
  await half
  // Before, behind and between: each has its turn with the next batch.
  for (const aggregate of ['a', 'z']) await add(aggregate, 7)
  const before = seen.length
  await vi.waitFor(async () => expect(await waiting()).toBe(0), 20_000)
  expect(seen).toEqual(Array.from({ length: many }, (_, at) => at + 1))
  expect(others.get('m-small 1')).toBeLessThanOrEqual(200)
  for (const other of ['a 7', 'z 7']) expect(others.get(other), other).toBeLessThanOrEqual(before + 2000)
})

test('an aggregate whose messages take longer than a transaction may idle is published bit by bit, each once', async () => {
  const many = 250
  await addMany('large', many)
  const applicationName = 'slow'
  const limited = createPostgres({ url: database.url, log, applicationName, maxConnections: 1, timeoutMs: 2000 })
  const seen: unknown[] = []
  const publish = async ({ payload }: NewJob) => {
    await new Promise((resolve) => setTimeout(resolve, 10)) // as a queue that is far away: two hundred take over two seconds
    seen.push((payload as { n: number }).n)
  }
  relay(publish, { postgres: limited })
  await vi.waitFor(async () => expect(await waiting()).toBe(0), 20_000)
  expect(seen).toEqual(Array.from({ length: many }, (_, at) => at + 1))
  await relays.pop()?.stop()
  await limited.stop()
}, 30_000)

test('what it costs to find the next messages does not grow with those that wait behind them', async () => {
  await addMany('large', 20_000)
  await postgres.query('VACUUM (ANALYZE) outbox') // without what other tests have left in the index
  const { rows: heads } = await postgres.query<{ id: string }>('SELECT id FROM outbox ORDER BY position LIMIT 1')
  for (const { text, values } of statements(heads[0]?.id ?? '')) {
    const { rows } = await postgres.query<{ 'QUERY PLAN': string }>(
      `EXPLAIN (ANALYZE, BUFFERS, FORMAT TEXT) ${text}`,
      values,
    )
    const plan = rows.map((row) => row['QUERY PLAN']).join('\n')
    const touched = [...plan.matchAll(/shared hit=(\d+)/g)].map(([, blocks]) => Number(blocks))
    expect(Math.max(...touched), plan).toBeLessThan(100)
  }
})

test('a queue that comes back without its data, or without the end of them, gets again what it has lost', async () => {
  const has = new Set<string>()
  const order: number[] = []
  const queue = {
    ...queueOf(async ({ id, payload }) => {
      has.add(id)
      order.push((payload as { n: number }).n)
    }),
    missing: async (jobs: { id: string }[]) => jobs.map(({ id }) => id).filter((id) => !has.has(id)),
  }
  const relayOnce = async () => {
    await vi.waitFor(async () => expect(await waiting()).toBe(0), 5000)
    const published = [...order]
    order.length = 0
    return published
  }
  const started = createRelay({ postgres, queue, log, pollMs: 20, verifyMs: 50 })
  started.start()
  relays.push(started)
  const all = Array.from({ length: 30 }, (_, n) => n)
  for (const n of all) await add('a', n)
  expect(await relayOnce()).toEqual(all)
  const ids = [...has]

  has.clear() // the whole file is gone
  await vi.waitFor(() => expect(has.size).toBe(30), 5000)
  expect(await relayOnce()).toEqual(all)
  expect([...has].sort()).toEqual(ids.sort())

  // The last second is gone: the newest by the time of their publication.
  const { rows } = await postgres.query<{ id: string; n: number }>(
    `SELECT id, (payload->>'n')::int AS n FROM outbox ORDER BY published_at DESC, id DESC LIMIT 3`,
  )
  for (const { id } of rows) has.delete(`order.charge-${id}`)
  await vi.waitFor(() => expect(has.size).toBe(30), 5000)
  expect((await relayOnce()).sort()).toEqual(rows.map(({ n }) => n).sort())
})

test('a queue that has everything costs one look, however much was published', async () => {
  await addMany('large', 2000)
  await postgres.query(`UPDATE outbox SET published_at = now() - interval '1 minute'`)
  const asked: number[] = []
  const missing = async (jobs: unknown[]) => {
    asked.push(jobs.length)
    return []
  }
  const { signal } = new AbortController()
  expect(await republishLost(postgres, { missing }, { signal, deep: false })).toBe(0)
  expect(asked).toEqual([20])
  const none = async (jobs: { id: string }[]) => jobs.map(({ id }) => id)
  await postgres.query(`UPDATE outbox SET published_at = now() - interval '1 day' WHERE position % 2 = 0`)
  expect(await republishLost(postgres, { missing: none }, { signal, deep: false })).toBe(1000)
})

test('after an outage it looks back for ten seconds, past a batch of which the queue has everything', async () => {
  await addMany('large', 2000)
  // 100 a second. The queue has lost some of three seconds ago, which another relay had added later than the newest ones.
  await postgres.query(`UPDATE outbox SET published_at = now() - (payload->>'n')::int * interval '10 milliseconds'`)
  const { rows } = await postgres.query<{ id: string }>(
    `SELECT id FROM outbox WHERE (payload->>'n')::int BETWEEN 700 AND 709`,
  )
  const lost = new Set(rows.map(({ id }) => `order.charge-${id}`))
  const asked: number[] = []
  const missing = async (jobs: { id: string }[]) => {
    asked.push(jobs.length)
    return jobs.map(({ id }) => id).filter((id) => lost.has(id))
  }
  const { signal } = new AbortController()
  expect(await republishLost(postgres, { missing }, { signal, deep: true })).toBe(10)
  expect(asked).toEqual([500, 500, 500])
})

test('of twenty jobs in a Redis that comes back empty, twenty are done', async () => {
  const prefix = `{test-${randomUUID()}}`
  const redis = createRedis({ url: inject('redisUrl'), role: 'request', log, timeoutMs: 2000 })
  const blocking = createRedis({ url: inject('redisUrl'), role: 'blocking', log })
  const queue = createBullmqQueue({ redis, prefix })
  const lose = async () => {
    const keys = await blocking.keys(`${prefix}*`)
    if (keys.length > 0) await blocking.del(...keys)
  }
  const started = createRelay({ postgres, queue, log, pollMs: 20, verifyMs: 50 })
  started.start()
  relays.push(started)
  for (let n = 0; n < 20; n++) await add(`order-${n}`, n)
  await vi.waitFor(async () => expect((await queue.counts()).waiting).toBe(20), 5000)
  await lose()
  const done = new Set<unknown>()
  const handlers = { 'order.charge': async ({ payload }: Job) => void done.add((payload as { n: number }).n) }
  const consumer = createBullmqConsumer({ redis: blocking, log, prefix, handlers })
  await vi.waitFor(() => expect(done.size).toBe(20), 5000)
  await relays.pop()?.stop()
  await consumer.stop(1000)
  await queue.stop()
  await lose()
  await Promise.all([redis, blocking].map(stopRedis))
})
