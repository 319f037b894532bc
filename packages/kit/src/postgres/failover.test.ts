import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { createDriver, postgresSettings } from '@escala/testing/environment'
import { type FaultProxy, startFaultProxy } from '@escala/testing/fault-proxy'
import type { PostgresPair } from '@escala/testing/standby'
import { withClient } from '@escala/testing/test-database'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { createLog } from '../log/log.ts'
import { createReplicas } from '../replicas/postgres.ts'
import { type Connections, createConnections } from './connections.ts'
import { createListener } from './listen.ts'
import { kitMigrations, migrate } from './migrations.ts'
import { createPostgres, type Postgres } from './postgres.ts'

// A switch-over as clients see it: all connections are cut, the address leads to the demoted server for a while, then to the new one.
const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
const readOnlyMs = 1500
let folder: string
let pair: PostgresPair
let proxy: FaultProxy
let connections: Connections
let postgres: Postgres

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'escala-failover-'))
  const driver = await createDriver('local')
  pair = (await driver.startPostgresPair?.(folder, { ...postgresSettings, max_connections: '30' })) as PostgresPair
  await migrate({ url: pair.primaryUrl(), folders: [kitMigrations], log })
  await query(pair.primaryUrl(), 'CREATE TABLE writes (n int)')
  proxy = await startFaultProxy({ target: pair.primaryUrl() })
})
afterAll(async () => {
  await proxy?.stop()
  await pair?.stop()
  await rm(folder, { recursive: true, force: true })
})

beforeEach(() => {
  connections = createConnections({ log })
  postgres = createPostgres({
    url: proxy.url,
    log,
    applicationName: 'app',
    maxConnections: 4,
    timeoutMs: 2000,
    connections,
  })
})
afterEach(() => postgres.stop())

const query = async (url: string, text: string) => (await withClient(url, (client) => client.query(text))).rows

async function connectedTo(url: string): Promise<string[]> {
  const rows = await query(
    url,
    `SELECT application_name AS name FROM pg_stat_activity WHERE application_name LIKE 'app%'`,
  )
  return rows.map(({ name }) => name)
}

/** Resolves when the address leads to the new primary. */
async function switchOver(meanwhile = async () => {}) {
  await pair.switchOver()
  await meanwhile()
  await wait(readOnlyMs) // the address is late: that is the fault
  proxy.lead(pair.primaryUrl())
}

test('writes work again, on the new primary, and nothing stays connected to the demoted server', async () => {
  let [running, lastFailure, wrong] = [true, 0, '']
  const write = async () => {
    while (running) {
      await postgres.query('INSERT INTO writes VALUES (1)').catch((error) => {
        lastFailure = performance.now()
        if (error.code !== 'E_POSTGRES_UNAVAILABLE') wrong = String(error)
      })
      await wait(20)
    }
  }
  const read = async () => {
    while (running) {
      await postgres.query('SELECT count(*) FROM writes').catch(() => undefined)
      await wait(20)
    }
  }
  const clients = [write(), write(), read(), read(), read()]
  await switchOver()
  const movedAt = performance.now()
  await vi.waitFor(async () => expect(await connectedTo(pair.standbyUrl())).toEqual([]), 5000)
  await wait(1000) // nothing fails any more
  running = false
  await Promise.all(clients)
  expect(await connectedTo(pair.standbyUrl())).toEqual([])
  expect({ wrong, late: lastFailure > movedAt + 5000 }).toEqual({ wrong: '', late: false })
  expect(lastFailure).toBeGreaterThan(0)
}, 30_000)

test('a process that only reads leaves the demoted server too, and reads go on meanwhile', async () => {
  let [running, failed] = [true, 0]
  const reading = (async () => {
    while (running) {
      await postgres.query('SELECT 1').catch(() => failed++)
      await wait(20)
    }
  })()
  await pair.switchOver()
  await vi.waitFor(async () => expect(await connectedTo(pair.standbyUrl())).toContain('app'), 5000)
  const failedBefore = failed
  await vi.waitFor(() => expect(connections.problem()).toBe('the server is read-only'), 5000)
  await wait(500)
  expect(failed).toBe(failedBefore)
  proxy.lead(pair.primaryUrl())
  await vi.waitFor(async () => expect(await connectedTo(pair.standbyUrl())).toEqual([]), 5000)
  await vi.waitFor(() => expect(connections.problem()).toBeUndefined(), 5000)
  running = false
  await reading
}, 30_000)

test('an idle process finds out by its heartbeat: registry, listener and pool', async () => {
  const replicas = createReplicas({
    self: { id: 'app', role: 'worker', version: '1', scopes: {}, secretFingerprints: [], schedules: [] },
    databaseUrl: proxy.url,
    pool: postgres,
    connections,
    log,
    dbConnections: 24,
    maxProcesses: 8,
  })
  await replicas.join()
  let heard = 0
  const channels = { things: () => void heard++ }
  const listener = createListener({ url: proxy.url, applicationName: 'app listener', log, channels, connections })
  listener.start()
  // Its heartbeat may have found out between the two.
  await switchOver(() =>
    vi.waitFor(async () => {
      await postgres.query('SELECT 1')
      expect(await connectedTo(pair.standbyUrl())).toContain('app')
    }, 5000),
  )
  const beats = () => query(pair.primaryUrl(), `SELECT FROM replicas WHERE heartbeat_at > now() - interval '1 second'`)
  await vi.waitFor(
    async () => {
      expect(await connectedTo(pair.standbyUrl())).toEqual([])
      expect(await connectedTo(pair.primaryUrl())).toEqual(expect.arrayContaining(['app registry', 'app listener']))
      await query(pair.primaryUrl(), `NOTIFY things`)
      expect([heard > 0, (await beats()).length > 0]).toEqual([true, true])
    },
    { timeout: 10_000, interval: 50 },
  )
  expect(replicas.problems()).toEqual([])
  await listener.stop()
  await replicas.leave()
}, 30_000)
