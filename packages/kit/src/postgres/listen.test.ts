import { createTestDatabase, type TestDatabase } from '@escala/testing/test-database'
import { afterAll, afterEach, beforeAll, expect, inject, test, vi } from 'vitest'
import { createLog } from '../log/log.ts'
import { createListener, type Listener, type ListenerOptions } from './listen.ts'
import { createPostgres, type Postgres } from './postgres.ts'

const silent = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
const log = silent
let database: TestDatabase
let postgres: Postgres
let listener: Listener | undefined
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  postgres = createPostgres({ url: database.url, log, applicationName: 'test', maxConnections: 2, timeoutMs: 2000 })
})
afterEach(() => listener?.stop())
afterAll(async () => {
  await postgres.stop()
  await database.drop()
})

function listen({ retryMs = 20, ...options }: Partial<ListenerOptions> = {}) {
  const seen: string[] = []
  const onConnect = vi.fn()
  const channels = { things: (payload: string) => void seen.push(payload) }
  listener = createListener({
    url: database.url,
    applicationName: 'listener',
    log,
    channels,
    onConnect,
    retryMs,
    ...options,
  })
  listener.start()
  return { seen, onConnect }
}

test('hears what is said on its channels', async () => {
  const { seen, onConnect } = listen()
  await vi.waitFor(() => expect(onConnect).toHaveBeenCalledTimes(1))
  await postgres.query(`SELECT pg_notify('things', 'one'), pg_notify('others', 'not this')`)
  await vi.waitFor(() => expect(seen).toEqual(['one']))
})

test('connects again after the server ended its connection, and says so', async () => {
  const { seen, onConnect } = listen()
  await vi.waitFor(() => expect(onConnect).toHaveBeenCalledTimes(1))
  await postgres.query(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'listener'`,
  )
  await vi.waitFor(() => expect(onConnect).toHaveBeenCalledTimes(2))
  await postgres.query(`SELECT pg_notify('things', 'two')`)
  await vi.waitFor(() => expect(seen).toEqual(['two']))
})

test('replaces its connection at a certain age, which is no failure, and keeps listening', async () => {
  const lines: string[] = []
  const log = { ...silent, warn: (_: object, line: string) => void lines.push(line) } as typeof silent
  const { seen, onConnect } = listen({ log, lifetimeMs: 200, retryMs: 60_000 })
  await vi.waitFor(() => expect(onConnect.mock.calls.length).toBeGreaterThan(3), 5000)
  await postgres.query(`SELECT pg_notify('things', 'three')`)
  await vi.waitFor(() => expect(seen).toEqual(['three']))
  const open = `SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'listener'`
  expect((await postgres.query(open)).rowCount).toBeLessThanOrEqual(2) // one may be on its way out
  expect(lines).toEqual([])
})

test('stops at once, also while it waits for a server that is down', async () => {
  const url = new URL(database.url)
  url.port = '1'
  const stuck = createListener({ url: url.href, applicationName: 'x', log, channels: {}, retryMs: 60_000 })
  stuck.start()
  await stuck.stop()
})
