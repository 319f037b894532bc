import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { createDriver, postgresSettings } from './environment.ts'
import { startFaultProxy } from './fault-proxy.ts'
import type { PostgresPair } from './standby.ts'
import { withClient } from './test-database.ts'

let folder: string
let pair: PostgresPair

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'escala-pair-'))
  const start = (await createDriver('local')).startPostgresPair
  if (!start) throw new Error('the local driver starts no pair')
  pair = await start(folder, { ...postgresSettings, max_connections: '20' })
})
afterAll(async () => {
  await pair?.stop()
  await rm(folder, { recursive: true, force: true })
})

const query = async (url: string, text: string) => (await withClient(url, (client) => client.query(text))).rows

test('a standby follows, refuses writes, and takes them after a switch-over; the former primary refuses them then', async () => {
  const readOnly = { code: '25006', message: 'cannot execute INSERT in a read-only transaction' }
  await query(pair.primaryUrl(), 'CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)')
  await vi.waitFor(async () => expect(await query(pair.standbyUrl(), 'SELECT n FROM kept')).toEqual([{ n: 1 }]))
  await expect(query(pair.standbyUrl(), 'INSERT INTO kept VALUES (2)')).rejects.toMatchObject(readOnly)
  await using proxy = Object.assign(await startFaultProxy({ target: pair.primaryUrl() }), {
    async [Symbol.asyncDispose]() {
      await proxy.stop()
    },
  })
  const before = pair.primaryUrl()

  await pair.switchOver()
  expect(pair.standbyUrl()).toBe(before)
  await expect(query(proxy.url, 'INSERT INTO kept VALUES (2)')).rejects.toMatchObject(readOnly)
  proxy.lead(pair.primaryUrl())
  await query(proxy.url, 'INSERT INTO kept VALUES (3)')
  expect(await query(pair.primaryUrl(), 'SELECT n FROM kept ORDER BY n')).toEqual([{ n: 1 }, { n: 3 }])
})

test('a fail-over loses what had not reached the standby, and the former primary follows again', async () => {
  await query(pair.primaryUrl(), 'CREATE TABLE numbers (n int); INSERT INTO numbers VALUES (1)')
  await vi.waitFor(async () => expect(await query(pair.standbyUrl(), 'SELECT n FROM numbers')).toEqual([{ n: 1 }]))
  pair.holdReplication()
  await query(pair.primaryUrl(), 'INSERT INTO numbers VALUES (2)')
  await pair.failOver()
  expect(await query(pair.primaryUrl(), 'SELECT n FROM numbers')).toEqual([{ n: 1 }])
  await query(pair.primaryUrl(), 'INSERT INTO numbers VALUES (3)')
  await vi.waitFor(async () =>
    expect(await query(pair.standbyUrl(), 'SELECT n FROM numbers ORDER BY n')).toEqual([{ n: 1 }, { n: 3 }]),
  )
})

test('the primary can be paused, and is the primary again after a crash', async () => {
  await query(pair.primaryUrl(), 'CREATE TABLE durable (n int); INSERT INTO durable VALUES (1)')
  const before = pair.primaryUrl()
  await pair.primary.pause()
  const asked = query(before, 'SELECT n FROM durable')
  expect(await Promise.race([asked, wait(300, 'nothing yet')])).toBe('nothing yet')
  await pair.primary.resume()
  expect(await asked).toEqual([{ n: 1 }])
  await pair.primary.crash()
  expect(pair.primaryUrl()).toBe(before)
  expect(await query(before, 'INSERT INTO durable VALUES (2) RETURNING n')).toEqual([{ n: 2 }])
})
