import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type FaultProxy, startFaultProxy } from '@escala/testing/fault-proxy'
import { createTestDatabase, type TestDatabase, withClient } from '@escala/testing/test-database'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import { createLog } from '../log/log.ts'
import { migrate } from './migrations.ts'
import { createPostgres } from './postgres.ts'
import { withSession } from './session.ts'

// What runs and ends, against a server that stops answering in one of the ways in which that happens.
const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
const address = /127\.0\.0\.1:\d+/
let database: TestDatabase
let proxy: FaultProxy
let folder: string
const own = () => ({ url: proxy.url, applicationName: 'step', beatMs: 200 })
const migrateThrough = (url: string, sql: string) =>
  writeFile(join(folder, '0001_step.sql'), sql).then(() =>
    migrate({ url, folders: [{ name: 'demo', url: pathToFileURL(folder) }], log, beatMs: 200, waitMs: 20_000 }),
  )

beforeEach(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  proxy = await startFaultProxy({ target: database.url })
  folder = await mkdtemp(join(tmpdir(), 'session-'))
})
afterEach(async () => {
  await proxy.stop()
  await database.drop()
  await rm(folder, { recursive: true })
})

async function query(text: string) {
  return await withClient(database.url, async (client) => (await client.query(text)).rows)
}

const sleeping = () =>
  query(`SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'`)
const sessions = () =>
  query(`SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'step'`)

test('a server that accepts and never answers is given up after five seconds', async () => {
  proxy.hang()
  await expect(withSession(own(), (session) => session.query('SELECT 1'))).rejects.toThrow(
    /^cannot connect to Postgres at 127\.0\.0\.1:\d+: no answer within 5 s\. Look whether the server runs/,
  )
}, 20_000)

test('a refused connection and a wrong database are named', async () => {
  await proxy.refuse()
  await expect(withSession(own(), (session) => session.query('SELECT 1'))).rejects.toThrow(/ECONNREFUSED/)
  await expect(
    withSession({ ...own(), url: database.url.replace(/[^/]+$/, 'none') }, async () => 1),
  ).rejects.toMatchObject({
    message: expect.stringContaining('database "none" does not exist (3D000)'),
    cause: { code: '3D000' },
  })
})

test('a statement may take far longer than a beat, and is not disturbed', async () => {
  const { rows } = await withSession(own(), (session) => session.query('SELECT pg_sleep(1.5), 1 AS one'))
  expect(rows).toMatchObject([{ one: 1 }])
})

test('a connection that goes silent between two statements is given up, and its session and locks are gone', async () => {
  const work = withSession(own(), async (session) => {
    await session.query('SELECT pg_advisory_lock(1)')
    proxy.silence()
    const lost = session.query('SELECT 2')
    await expect(lost).rejects.toThrow(
      /^the connection to Postgres at 127\.0\.0\.1:\d+ was lost: the server has replied, and nothing arrived\. Look at/,
    )
    await expect(session.query('SELECT 3')).rejects.toThrow('was lost')
    expect(await sessions()).toEqual([])
    throw await lost.catch((error) => error)
  })
  await expect(work).rejects.toThrow(address)
}, 20_000)

test('a connection that goes silent as soon as it is made is given up', async () => {
  const [target, url] = [new URL(database.url), new URL(database.url)]
  const opened: Socket[] = []
  const silent = createServer((client) => {
    const isFirst = opened.length === 0
    const server = connect(Number(target.port), target.hostname)
    let isReady = false
    client.on('data', (chunk) => (isFirst && isReady) || server.write(chunk)).on('error', () => undefined)
    server.on('data', (chunk) => client.write(chunk)).on('error', () => undefined)
    server.on('data', (chunk) => {
      isReady ||= chunk.includes('Z\0\0\0\x05I') // ready for a query
    })
    opened.push(client, server)
  })
  silent.listen(0, '127.0.0.1')
  await once(silent, 'listening')
  url.port = String((silent.address() as AddressInfo).port)
  await expect(withSession({ ...own(), url: url.href }, (session) => session.query('SELECT 1'))).rejects.toThrow(
    'was lost: the server has replied, and nothing arrived',
  )
  for (const socket of opened) socket.destroy()
  silent.close()
}, 20_000)

test('a connection that goes silent while the server works is given up soon after the server is done', async () => {
  const work = withSession(own(), (session) => session.query('SELECT pg_sleep(1)'))
  await expect.poll(sleeping).toHaveLength(1)
  proxy.silence()
  await expect(work).rejects.toThrow('was lost')
}, 20_000)

test('a server that hangs is given up although nothing says that the statement is over', async () => {
  const work = withSession(own(), (session) => session.query('SELECT pg_sleep(60)'))
  work.catch(() => undefined)
  await expect.poll(sleeping).toHaveLength(1)
  proxy.hang()
  await expect(work).rejects.toThrow('was lost: the server does not answer')
}, 40_000)

test('a session that the server has ended without a word is given up', async () => {
  const work = withSession(own(), (session) => session.query('SELECT pg_sleep(60)'))
  work.catch(() => undefined)
  await expect.poll(sleeping).toHaveLength(1)
  proxy.silence()
  await query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'step'`)
  await expect(work).rejects.toThrow('was lost: the server has ended it')
}, 20_000)

test('a migration whose connection goes silent ends, says what is known, and is not in the way of the next one', async () => {
  const step = migrateThrough(proxy.url, 'SELECT pg_sleep(1)')
  step.catch(() => undefined)
  await expect.poll(sleeping).toHaveLength(1)
  proxy.silence()
  await expect(step).rejects.toMatchObject({
    code: 'E_MIGRATION_FAILED',
    message: /^demo\/0001_step\.sql: the connection .* was lost: .* \(the next try finds out what .* was applied\)$/,
  })
  expect(await migrateThrough(database.url, 'SELECT 1')).toEqual({ applied: ['demo/0001_step'] })
}, 20_000)

test('a migration that dies in a long statement does not keep the next one from running', async () => {
  const dying = migrateThrough(proxy.url, 'SELECT pg_sleep(60)')
  dying.catch(() => undefined)
  await expect.poll(sleeping).toHaveLength(1)
  await proxy.refuse() // as the end of the process does, it cuts the connection
  await expect(dying).rejects.toMatchObject({ code: 'E_MIGRATION_FAILED' })
  expect(await migrateThrough(database.url, 'SELECT 1')).toEqual({ applied: ['demo/0001_step'] })
}, 30_000)

test('a pool and a session close their sockets although the server never says goodbye', async () => {
  const [target, url] = [new URL(database.url), new URL(database.url)]
  // Passes what is sent, and no end of a connection.
  const deaf = createServer({ allowHalfOpen: true }, (client) => {
    const server = connect(Number(target.port), target.hostname)
    client.on('data', (chunk) => server.write(chunk)).on('error', () => undefined)
    server.on('data', (chunk) => client.write(chunk)).on('error', () => undefined)
    opened.push(client, server)
  })
  const opened: Socket[] = []
  deaf.listen(0, '127.0.0.1')
  await once(deaf, 'listening')
  url.port = String((deaf.address() as AddressInfo).port)
  const sockets = () => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length
  const before = sockets()
  const postgres = createPostgres({ url: url.href, log, applicationName: 't', maxConnections: 2, timeoutMs: 2000 })
  await Promise.all([postgres.query('SELECT pg_sleep(0.1)'), postgres.query('SELECT pg_sleep(0.1)')])
  expect(sockets()).toBe(before + 3 * 2) // at each end of the two connections, and at this end of those behind
  await postgres.stop()
  await withSession({ ...own(), url: url.href }, (session) => session.query('SELECT 1'))
  await expect.poll(sockets, { timeout: 5000 }).toBeLessThanOrEqual(before + 3) // those of the deaf one
  for (const socket of opened) socket.destroy()
  deaf.close()
})
