import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { createClient } from '@escala/testing/client'
import { createDriver } from '@escala/testing/environment'
import { type Replica, waitUntilReady } from '@escala/testing/replica'
import { templateDatabase } from '@escala/testing/template'
import { createTestDatabase, type TestDatabase, withClient } from '@escala/testing/test-database'
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest'

// One place for two processes. The one that has it is stopped (SIGSTOP) for longer than its heartbeat counts, and wakes up.
const budget = 10
let folder: string
let database: TestDatabase
let replicas: Replica[] = []

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'escala-place-'))
  const template = await templateDatabase(inject('postgresUrl'))
  database = await createTestDatabase(inject('postgresUrl'), { template })
})
afterAll(async () => {
  await Promise.all(replicas.map((replica) => replica.remove()))
  await database.drop()
  await rm(folder, { recursive: true, force: true })
})

async function start(id: string): Promise<Replica> {
  const driver = await createDriver('local')
  const redisUrl = `${inject('redisUrl')}/9`
  const env = {
    REPLICA_ID: id,
    NODE_ENV: 'production',
    DATABASE_URL: database.url,
    REDIS_URL: redisUrl,
    CACHE_REDIS_URL: redisUrl,
    SESSION_SECRETS: 'a'.repeat(32),
    DB_CONNECTIONS: String(budget),
    MAX_PROCESSES: '1',
    HEARTBEAT_MS: '1000',
    REFUSE_MS: '0',
    MAX_LOOP_DELAY_MS: '10000',
  }
  const replica = await driver.startReplica(folder, { id, role: 'api', env })
  replicas = [...replicas, replica]
  return replica
}

/** The connections of the pools, and of the registry of each replica that has a place. */
const count = (sql: string) =>
  withClient(database.url, async (client) =>
    Number((await client.query(`SELECT count(*) FROM pg_stat_activity WHERE ${sql}`)).rows[0]?.count),
  )
const poolOf = ({ id }: Replica) => count(`application_name = '${id}'`)

/** Makes the replica open all the connections that it may: log-ins wait for a table that the test has locked. */
async function fill(replica: Replica): Promise<void> {
  await withClient(database.url, async (locker) => {
    await locker.query('BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE')
    const logIns = Array.from({ length: budget * 2 }, (_, n) => {
      const client = createClient(replica.url, { keepAlive: false, headers: { 'x-forwarded-for': `10.0.0.${n}` } })
      return client.post('/v1/session', { email: `${n}@example.com`, password: 'correct horse' })
    })
    await vi.waitFor(async () => expect(await poolOf(replica)).toBe(budget - 1), 15_000)
    await locker.query('COMMIT')
    await Promise.all(logIns)
  })
}

test('a replica that wakes up after its place was given away refuses requests until it has one, and the budget holds', async () => {
  const first = await start('first')
  await waitUntilReady(first)
  await fill(first)
  const kept = createClient(first.url)
  expect((await kept.get('/v1/openapi.json')).status).toBe(200)
  let [most, watching] = [0, true]
  const watch = (async () => {
    while (watching) {
      most = Math.max(most, await count(`application_name IN ('first', 'second')`))
      await wait(20)
    }
  })()
  watch.catch(() => undefined) // reported where it is awaited

  await first.pause()
  const second = await start('second')
  await waitUntilReady(second)
  await fill(second)
  const waiting = kept.get('/v1/openapi.json')
  await first.resume()
  const readiness = async (replica: Replica) => (await createClient(replica.internalUrl).get('/readyz')).body
  await vi.waitFor(
    async () => expect((await readiness(first)).reasons.replicas).toContain('waiting for a place'),
    15_000,
  )
  expect([200, 503]).toContain((await waiting).status) // it came before the replica knew
  // What waited to be accepted in that moment gets a response.
  const answered: number[] = []
  await vi.waitFor(async () => {
    const { status, error } = await createClient(first.url, { keepAlive: false }).get('/v1/openapi.json')
    if (error === undefined) answered.push(status)
    expect(error).toBe('ECONNREFUSED')
  }, 5000)
  expect(answered.filter((status) => status !== 503)).toEqual([])
  const last = await kept.get('/v1/openapi.json')
  expect([last.error, last.body?.code]).toContainEqual(expect.stringMatching(/ECONNREFUSED|ECONNRESET|E_NO_REPLICA/))
  expect(await poolOf(first)).toBe(0)
  expect(await second.terminate()).toBe(0)
  await waitUntilReady(first)
  await vi.waitFor(async () => expect((await kept.get('/v1/openapi.json')).status).toBe(200), 15_000)
  watching = false
  await watch
  expect(most).toBeLessThanOrEqual(budget - 1)
  expect(most).toBeGreaterThan(1)
}, 90_000)
