import { setTimeout as wait } from 'node:timers/promises'
import { dataModules } from '@escala/api/modules'
import { readConfig } from '@escala/kit/config/config'
import { createBullmqQueue } from '@escala/kit/jobs/bullmq'
import { createLog } from '@escala/kit/log/log'
import { createPostgresOutbox } from '@escala/kit/outbox/postgres'
import { kitMigrations, migrate, migrationsOf } from '@escala/kit/postgres/migrations'
import { createPostgres, type Postgres } from '@escala/kit/postgres/postgres'
import { createRedis, stopRedis } from '@escala/kit/redis/redis'
import { startFaultProxy } from '@escala/testing/fault-proxy'
import { createTestDatabase, type TestDatabase } from '@escala/testing/test-database'
import { afterAll, afterEach, beforeAll, expect, inject, test, vi } from 'vitest'
import { compose, type Worker, workerConfigSettings, workerStopMs } from './compose.ts'
import { workerModules } from './modules.ts'
import type { Parts } from './parts.ts'

const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
const folders = [kitMigrations, ...dataModules.map(migrationsOf)]
let database: TestDatabase
let postgres: Postgres
let redisUrl: string
let workers: Worker[] = []
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  await migrate({ url: database.url, folders, log })
  postgres = createPostgres({ url: database.url, log, applicationName: 'test', maxConnections: 2, timeoutMs: 2000 })
  redisUrl = `${inject('redisUrl')}/7` // a numbered database of its own: the queue's name is a constant
})
afterEach(async () => {
  await Promise.all(workers.map((worker) => worker.stop()))
  workers = []
})
afterAll(async () => {
  const redis = createRedis({ url: redisUrl, role: 'blocking', log })
  const keys = await redis.keys('*')
  if (keys.length > 0) await redis.del(...keys)
  await stopRedis(redis)
  await postgres.stop()
  await database.drop()
})

async function create(env: Record<string, string> = {}, parts: Partial<Parts> = {}) {
  const worker = await compose(
    readConfig(
      {
        LOG_LEVEL: 'silent',
        REPLICA_ID: `worker-${workers.length}`,
        HOST: '127.0.0.1',
        INTERNAL_PORT: '0',
        DATABASE_URL: database.url,
        REDIS_URL: redisUrl,
        CACHE_REDIS_URL: redisUrl,
        DB_CONNECTIONS: '40',
        HEARTBEAT_MS: '200',
        PAYMENTS_URL: 'http://127.0.0.1:1',
        SMTP_URL: 'smtp://127.0.0.1:1',
        ...env,
      },
      workerConfigSettings,
    ),
    parts,
  )
  workers.push(worker)
  const get = (path: string) => fetch(`http://127.0.0.1:${worker.internalPort()}${path}`)
  const readiness = async () =>
    (await (await get('/readyz')).json()) as { reasons: Record<string, string>; degraded: string[] }
  return { worker, get, readiness }
}

test('a schedule that two modules declare is refused', async () => {
  const schedule = { id: 'nightly', type: 'report', every: { ms: 1000 } }
  const created = create({}, { ownSchedules: () => [schedule, schedule] })
  await expect(created).rejects.toMatchObject({ code: 'E_MODULE', detail: 'two modules declare the schedule nightly' })
})

const live = async () => (await postgres.query('SELECT FROM replicas')).rowCount

test('relays the outbox, works, counts, and leaves nothing behind', async () => {
  const { worker, get } = await create()
  await worker.start()
  expect((await get('/readyz')).status).toBe(200)
  await postgres.query(`INSERT INTO idempotency_keys (owner, key, fingerprint, status, created_at)
    VALUES ('ana', 'k', 'f', 201, now() - interval '2 days')`)
  const message = { type: 'kit.clean', aggregate: 'a', payload: null }
  await postgres.transaction((tx) => createPostgresOutbox().add(tx, message))
  await vi.waitFor(async () => expect((await postgres.query('SELECT FROM idempotency_keys')).rowCount).toBe(0), 3000)
  await vi.waitFor(async () => expect(await (await get('/metrics')).text()).toMatch(/^escala_outbox_waiting\{.*\} 0$/m))
  expect(await (await get('/metrics')).text()).toMatch(/^escala_jobs\{state="failed".*\} 0$/m)
  expect(await (await get('/metrics')).text()).toMatch(/^escala_live_processes\{role="worker".*\} 1$/m)
  // sample
  expect(await (await get('/metrics')).text()).toContain('# TYPE escala_tickets_orders_swept_total counter')
  // /sample
  expect(await live()).toBe(1)
  await worker.stop()
  expect(await live()).toBe(0)
})

test('waits, unready, until Postgres and Redis are there', async () => {
  const [postgresProxy, redisProxy] = await Promise.all([
    startFaultProxy({ target: database.url }),
    startFaultProxy({ target: redisUrl }),
  ])
  await Promise.all([postgresProxy.refuse(), redisProxy.refuse()])
  const { worker, get, readiness } = await create({ DATABASE_URL: postgresProxy.url, REDIS_URL: redisProxy.url })
  const started = worker.start()
  const reasons = async () => (await readiness()).reasons
  const redis = 'REDIS_URL was never reached: it cannot be reached (ECONNREFUSED)'
  await vi.waitFor(async () => expect((await reasons()).redis).toBe(redis), 3000)
  await redisProxy.heal()
  await vi.waitFor(
    async () => expect(await reasons()).toEqual({ replicas: expect.stringMatching(/^waiting for Postgres: .+/) }),
    5000,
  )
  expect((await get('/readyz')).status).toBe(503)
  await postgresProxy.heal()
  await started
  expect((await get('/readyz')).status).toBe(200)
  await redisProxy.refuse()
  await vi.waitFor(async () => expect((await readiness()).degraded).toEqual(['redis']))
  expect((await get('/readyz')).status).toBe(200)
  await worker.stop()
  await Promise.all([postgresProxy.stop(), redisProxy.stop()])
})

test.skipIf(workerModules.length === 0)("waits for every module's migrations, not the kit's alone", async () => {
  const halfway = await createTestDatabase(inject('postgresUrl'))
  await migrate({ url: halfway.url, folders: [kitMigrations], log })
  const { worker, readiness } = await create({ DATABASE_URL: halfway.url })
  const started = worker.start()
  const waiting = 'waiting for the migrations kit/0001_users, ' // of accounts, under the name that it had
  await vi.waitFor(async () => expect((await readiness()).reasons.replicas).toContain(waiting), 3000)
  await migrate({ url: halfway.url, folders, log })
  await started
  await worker.stop()
  await halfway.drop()
})

test('stops in the middle of its start', async () => {
  const proxy = await startFaultProxy({ target: redisUrl })
  await proxy.refuse()
  const { worker, get } = await create({ REDIS_URL: proxy.url })
  const started = worker.start()
  await vi.waitFor(
    async () => expect(await (await get('/readyz')).text()).toContain('REDIS_URL was never reached'),
    3000,
  )
  await worker.stop()
  await started
  expect(await live()).toBe(0)
  await proxy.stop()
})

test('without a heartbeat for its time-to-live it is not ready, and says why, until it is back', async () => {
  const proxy = await startFaultProxy({ target: database.url })
  const { worker, get, readiness } = await create({ DATABASE_URL: proxy.url })
  await worker.start()
  expect((await get('/readyz')).status).toBe(200)
  await proxy.refuse()
  await vi.waitFor(async () => expect((await readiness()).reasons.heartbeat).toContain('no heartbeat for'), 5000)
  expect((await get('/readyz')).status).toBe(503)
  expect((await readiness()).degraded).toContainEqual(expect.stringContaining('postgres: '))
  await proxy.heal()
  await vi.waitFor(async () => expect(await readiness()).toMatchObject({ ready: true, degraded: [] }), 5000)
  await worker.stop()
  await proxy.stop()
})

test('takes no job while another process has its place, says so, and goes on when there is one again', async () => {
  const { worker, readiness } = await create({ MAX_PROCESSES: '1' })
  await worker.start()
  const redis = createRedis({ url: redisUrl, role: 'request', log, timeoutMs: 1000 })
  await vi.waitFor(() => expect(redis.status).toBe('ready'))
  const queue = createBullmqQueue({ redis })
  const old = async () => (await postgres.query('SELECT FROM idempotency_keys')).rowCount
  const addOld = () =>
    postgres.query(`INSERT INTO idempotency_keys (owner, key, fingerprint, status, created_at)
      VALUES ('ana', 'place', 'f', 201, now() - interval '2 days')`)
  await postgres.query(`WITH gone AS (DELETE FROM replicas)
    INSERT INTO replicas (incarnation, id, role, version, scopes, secret_fingerprints, schedules, ttl_ms, pool_size, admitted,
      clock_offset_ms, started_at, heartbeat_at)
    VALUES (gen_random_uuid(), 'other', 'worker', '1', '{}', '{}', '{}', 3600000, 3, true, 0, now(), now())`)
  await vi.waitFor(async () => expect((await readiness()).reasons.replicas).toContain('waiting for a place'), 5000)
  await addOld()
  await queue.add({ id: 'kit.clean-without-place', type: 'kit.clean', payload: null })
  await wait(500)
  expect(await redis.lrange('{escala}:jobs:wait', '0', '-1')).toEqual(['kit.clean-without-place'])
  expect(await old()).toBe(1)
  await postgres.query(`DELETE FROM replicas WHERE id = 'other'`)
  await vi.waitFor(async () => expect(await readiness()).toMatchObject({ ready: true }), 5000)
  await vi.waitFor(async () => expect(await old()).toBe(0), 5000)
  await worker.stop()
  await queue.stop()
  await stopRedis(redis)
})

test('stops within its bounds when neither Postgres nor Redis answers any more', async () => {
  const proxies = await Promise.all([startFaultProxy({ target: database.url }), startFaultProxy({ target: redisUrl })])
  const [postgresProxy, redisProxy] = proxies
  const { worker } = await create({
    DATABASE_URL: postgresProxy.url,
    REDIS_URL: redisProxy.url,
    DRAIN_DEADLINE_MS: '100',
  })
  await worker.start()
  await Promise.all(proxies.map((proxy) => proxy.hang()))
  const startedAt = performance.now()
  await worker.stop()
  const bound = Object.values(workerStopMs).reduce((sum, ms) => sum + ms, 100)
  expect(performance.now() - startedAt).toBeLessThan(bound)
  await Promise.all(proxies.map((proxy) => proxy.stop()))
})
