import { setTimeout as wait } from 'node:timers/promises'
import { startFaultProxy } from '@escala/testing/fault-proxy'
import { createTestDatabase, type TestDatabase } from '@escala/testing/test-database'
import { afterEach, beforeAll, expect, inject, test, vi } from 'vitest'
import { createLog } from '../log/log.ts'
import { createConnections } from './connections.ts'
import { createListener } from './listen.ts'
import { createPostgres } from './postgres.ts'

const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
const stops: (() => Promise<unknown>)[] = []
let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  return () => database.drop()
})
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop()
})

async function throughProxy() {
  const proxy = await startFaultProxy({ target: database.url })
  stops.push(() => proxy.stop())
  return proxy
}

test('connections that went silent together cost one statement its time, not one each', async () => {
  const proxy = await throughProxy()
  const options = { url: proxy.url, log, applicationName: 'test', maxConnections: 4, timeoutMs: 500 }
  const postgres = createPostgres(options)
  stops.push(postgres.stop)
  const sleeps = Array.from({ length: 4 }, () => postgres.query('SELECT pg_sleep(0.1)'))
  await Promise.all(sleeps)
  expect(postgres.stats()).toMatchObject({ total: 4, idle: 4 })
  proxy.silence()
  await expect(postgres.query('SELECT 1')).rejects.toMatchObject({ code: 'E_POSTGRES_UNAVAILABLE' })
  for (let i = 0; i < 4; i++) expect((await postgres.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
})

test('one connection that goes silent says so to every pool of its process', async () => {
  const proxy = await throughProxy()
  const connections = createConnections({ log })
  const shared = { url: proxy.url, log, timeoutMs: 500, connections }
  const pool = createPostgres({ ...shared, applicationName: 'pool', maxConnections: 4 })
  const registry = createPostgres({ ...shared, applicationName: 'registry', maxConnections: 1 })
  stops.push(pool.stop, registry.stop)
  await Promise.all(Array.from({ length: 4 }, () => pool.query('SELECT pg_sleep(0.1)')))
  await registry.query('SELECT 1')
  proxy.silence()
  await expect(registry.query('SELECT 1')).rejects.toMatchObject({ code: 'E_POSTGRES_UNAVAILABLE' })
  await expect.poll(() => pool.stats().total).toBe(0)
  expect((await pool.query('SELECT 1 AS one')).rows).toEqual([{ one: 1 }])
})

test('an attempt to connect that began earlier says nothing about now', async () => {
  const proxy = await throughProxy()
  const connections = createConnections({ log })
  const options = { url: proxy.url, log, applicationName: 'early', maxConnections: 2, timeoutMs: 1500, connections }
  const postgres = createPostgres(options)
  stops.push(postgres.stop)
  proxy.hang()
  const early = postgres.query('SELECT 1').catch((error) => error)
  await wait(300) // its first bytes get lost
  await proxy.heal()
  await postgres.query('SELECT 1')
  expect(await early).toMatchObject({ code: 'E_POSTGRES_UNAVAILABLE' })
  expect(connections.problem()).toBeUndefined()
})

test('a statement that is only slow does not cost the connections that work', async () => {
  const postgres = createPostgres({
    url: database.url,
    log,
    applicationName: 'slow',
    maxConnections: 2,
    timeoutMs: 500,
  })
  stops.push(postgres.stop)
  const pid = async () => (await postgres.query('SELECT pg_backend_pid() AS pid')).rows[0]?.pid
  const slow = postgres.query('SELECT pg_sleep(2)').catch((error) => error)
  const before = await pid()
  await vi.waitFor(async () => {
    expect(await pid()).toBe(before)
    expect(await Promise.race([slow, undefined])).toMatchObject({ code: 'E_POSTGRES_UNAVAILABLE' })
  }, 5000)
  expect(await pid()).toBe(before)
})

test('a listener whose connection went silent connects again within 5 s', async () => {
  const proxy = await throughProxy()
  const onConnect = vi.fn()
  const listener = createListener({
    url: proxy.url,
    applicationName: 'listener',
    log,
    channels: { things: vi.fn() },
    onConnect,
  })
  stops.push(listener.stop)
  listener.start()
  await vi.waitFor(() => expect(onConnect).toHaveBeenCalledTimes(1), 5000)
  proxy.silence()
  await vi.waitFor(() => expect(onConnect).toHaveBeenCalledTimes(2), 5000)
})
