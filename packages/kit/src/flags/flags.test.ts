import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { startFaultProxy } from '@escala/testing/fault-proxy'
import { createTestDatabase, type TestDatabase } from '@escala/testing/test-database'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, expect, inject, test, vi } from 'vitest'
import { createLog } from '../log/log.ts'
import { createChanges } from '../postgres/changes.ts'
import { kitMigrations, migrate } from '../postgres/migrations.ts'
import { createPostgres, type Postgres } from '../postgres/postgres.ts'
import { createRedis, stopRedis } from '../redis/redis.ts'
import { declared, describeFlags, testFlags } from './flags.contract.ts'
import { defineFlags } from './flags.ts'
import { createMemoryFlags } from './memory.ts'
import { createPostgresFlags, type PostgresFlagsOptions } from './postgres.ts'

const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
const stops: (() => Promise<unknown>)[] = []
let database: TestDatabase
let postgres: Postgres
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  await migrate({ url: database.url, folders: [kitMigrations], log })
  postgres = createPostgres({ url: database.url, log, applicationName: 'test', maxConnections: 5, timeoutMs: 5000 })
})
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop()
  await postgres.query('DELETE FROM flags')
})
afterAll(async () => {
  await postgres.stop()
  await database.drop()
})

describeFlags('memory', async () => ({ flags: createMemoryFlags({ declared }), stop: async () => {} }))
describeFlags('postgres', async () => ({
  flags: createPostgresFlags({ declared, postgres, log }),
  stop: async () => {},
}))

const channel = `test:${randomUUID()}`

async function replica(options: Partial<PostgresFlagsOptions> = {}) {
  const redis = createRedis({ url: inject('redisUrl'), role: 'request', log })
  const subscriber = createRedis({ url: inject('redisUrl'), role: 'subscriber', log })
  const broadcast = { redis, subscriber, channel }
  const flags = createPostgresFlags({ declared, postgres, log, broadcast, ...options })
  await vi.waitFor(() => expect(redis.status).toBe('ready'))
  await flags.start()
  await subscriber.subscribe(channel)
  stops.push(async () => {
    await flags.stop()
    await Promise.all([stopRedis(redis), stopRedis(subscriber)])
  })
  return flags
}

test('every replica hears of a change at once', async () => {
  const replicas = [
    await replica({ pollMs: 60_000 }),
    await replica({ pollMs: 60_000 }),
    await replica({ pollMs: 60_000 }),
  ]
  for (let round = 0; round < 20; round++) {
    await replicas[round % 3]?.set('maxItems', round)
    for (const flags of replicas) {
      await vi.waitFor(() => expect(flags.get(testFlags.maxItems)).toBe(round), { timeout: 500, interval: 2 })
    }
  }
})

test('every replica sees a change within 5 s when the broadcast is lost', async () => {
  const replicas = [await replica({ broadcast: undefined }), await replica({ broadcast: undefined })]
  await replicas[0]?.set('salesOpen', false)
  await vi.waitFor(() => expect(replicas[1]?.get(testFlags.salesOpen)).toBe(false), { timeout: 5000, interval: 10 })
})

test('a heartbeat that reports changed flags is heard, whichever process changed them, and nothing is polled', async () => {
  const changes = createChanges()
  const revision = async () => {
    const { rows } = await postgres.query<Record<'flags', number>>(
      `SELECT revision::int AS flags FROM changes WHERE table_name = 'flags'`,
    )
    return rows[0] as { flags: number }
  }
  let asked = 0
  const counted = {
    query: <Row>(...args: Parameters<Postgres['query']>) => {
      asked++
      return postgres.query<Row>(...args)
    },
  }
  const flags = await replica({ postgres: counted, broadcast: undefined, changes, pollMs: 1 })
  changes.heard(await revision())
  await vi.waitFor(() => expect(asked).toBe(2)) // at the start, and with the first heartbeat
  for (const value of [1, 2, 3]) {
    await postgres.query(
      `INSERT INTO flags (name, value) VALUES ('maxItems', $1) ON CONFLICT (name) DO UPDATE SET value = $1`,
      [String(value)],
    )
    changes.heard(await revision())
    await vi.waitFor(() => expect(flags.get(testFlags.maxItems)).toBe(value))
    changes.heard(await revision())
  }
  await postgres.query('DELETE FROM flags')
  changes.heard(await revision())
  await vi.waitFor(() => expect(flags.get(testFlags.maxItems)).toBe(10))
  expect(asked).toBe(6)
})

test('what could not be read after a change is read once that is possible', async () => {
  const changes = createChanges()
  let away = false
  const flaky = {
    query: <Row>(...args: Parameters<Postgres['query']>) =>
      away ? Promise.reject(new Error('away')) : postgres.query<Row>(...args),
  }
  const flags = await replica({ postgres: flaky, broadcast: undefined, changes, pollMs: 20 })
  await postgres.query(`INSERT INTO flags (name, value) VALUES ('salesOpen', 'false')`)
  away = true
  changes.heard({ flags: 1_000_000 })
  away = false
  await vi.waitFor(() => expect(flags.get(testFlags.salesOpen)).toBe(false))
})

test('what another version of the code stored does not count', async () => {
  await postgres.query(
    `INSERT INTO flags (name, value) VALUES ('gone', 'true'), ('salesOpen', '"no"'), ('maxItems', '5')`,
  )
  const flags = await replica()
  expect(flags.get(testFlags.salesOpen)).toBe(true)
  expect(flags.get(testFlags.maxItems)).toBe(5)
})

test('while Postgres is down, the last known values stay', async () => {
  let away = false
  const flaky = {
    query: <Row>(...args: Parameters<Postgres['query']>) =>
      away ? Promise.reject(new Error('away')) : postgres.query<Row>(...args),
  }
  const flags = await replica({ postgres: flaky, pollMs: 20, broadcast: undefined })
  await flags.set('salesOpen', false)
  away = true
  await expect(flags.set('salesOpen', true)).rejects.toThrow('away')
  expect(flags.get(testFlags.salesOpen)).toBe(false)
  away = false
  await flags.set('salesOpen', true)
  expect(flags.get(testFlags.salesOpen)).toBe(true)
})

test('an outage is logged once, and its end', async () => {
  const lines: string[] = []
  const told = pino({ level: 'info' }, { write: (line: string) => void lines.push(JSON.parse(line).msg) })
  let [away, asked] = [false, 0]
  const flaky = {
    query: <Row>(...args: Parameters<Postgres['query']>) => {
      asked++
      return away ? Promise.reject(new Error('away')) : postgres.query<Row>(...args)
    },
  }
  await replica({ postgres: flaky, pollMs: 5, broadcast: undefined, log: told })
  away = true
  const before = asked
  await vi.waitFor(() => expect(asked).toBeGreaterThan(before + 5))
  away = false
  await vi.waitFor(() => expect(lines).toEqual(['flags could not be read', 'flags are read again']))
})

test('two flags of one name are a mistake', () => {
  const again = Object.values(defineFlags({ banner: { default: 1, description: '' } }))
  expect(() => createMemoryFlags({ declared: [...declared, ...again] })).toThrow('declared twice')
})

test('a start in the middle of an outage of Postgres waits for it, and serves no defaults meanwhile', async () => {
  const proxy = await startFaultProxy({ target: database.url })
  const options = { log, applicationName: 'test', maxConnections: 1, timeoutMs: 500 }
  const away = createPostgres({ ...options, url: proxy.url })
  const [changed, stopped] = [1, 2].map(() => createPostgresFlags({ declared, postgres: away, log, pollMs: 20 }))
  await createPostgresFlags({ declared, postgres, log }).set(testFlags.salesOpen.name, false)
  await proxy.refuse()
  const starting = [changed?.start(), stopped?.start()]
  const outcome = Promise.allSettled(starting)
  await expect(Promise.race([...starting, wait(100, 'waiting')])).resolves.toBe('waiting')
  await stopped?.stop()
  await proxy.heal()
  expect((await outcome).map(({ status }) => status)).toEqual(['fulfilled', 'rejected'])
  expect(changed?.get(testFlags.salesOpen)).toBe(false)
  await changed?.stop()
  await Promise.all([away.stop(), proxy.stop()])
})
