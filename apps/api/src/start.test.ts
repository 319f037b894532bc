import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readConfig } from '@escala/kit/config/config'
import { freePort } from '@escala/servers/processes'
import { createDriver } from '@escala/testing/environment'
import { templateDatabase } from '@escala/testing/template'
import { createTestDatabase } from '@escala/testing/test-database'
import { Redis } from 'ioredis'
import { afterAll, afterEach, beforeAll, expect, inject, test, vi } from 'vitest'
import { type Api, apiConfigSettings, compose } from './compose.ts'

const stops: (() => Promise<unknown>)[] = []
let databaseUrl: string
let redisUrl: string
let admin: Redis
let api: Api

beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'escala-start-'))
  stops.push(() => rm(folder, { recursive: true, force: true }))
  const server = await (await createDriver(inject('driver'))).startRedis(folder, {})
  redisUrl = server.url
  admin = new Redis(redisUrl)
  stops.push(server.stop, async () => admin.disconnect())
  const template = await templateDatabase(inject('postgresUrl'))
  const database = await createTestDatabase(inject('postgresUrl'), { template })
  databaseUrl = database.url
  stops.push(database.drop)
})
afterEach(() => api.stop())
afterAll(async () => {
  for (const stop of stops.reverse()) await stop()
})

async function begin(env: Record<string, string>) {
  api = await compose(
    readConfig(
      {
        NODE_ENV: 'test',
        LOG_LEVEL: 'silent',
        HOST: '127.0.0.1',
        PORT: '0',
        INTERNAL_PORT: '0',
        DATABASE_URL: databaseUrl,
        SESSION_SECRETS: 'a'.repeat(32),
        REFUSE_MS: '0',
        ...env,
      },
      apiConfigSettings,
    ),
  )
  const started = api.start()
  started.catch(() => undefined)
  const readiness = async () => {
    const response = await fetch(`http://127.0.0.1:${api.internalPort()}/readyz`)
    const body = (await response.json()) as { reasons: Record<string, string>; degraded: string[] }
    return { status: response.status, ...body }
  }
  await vi.waitFor(() => expect(api.internalPort()).toBeGreaterThan(0))
  return { started, readiness }
}

function connects(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}

test('a wrong password of Redis: never ready, never serving, and it says why', async () => {
  await admin.config('SET', 'requirepass', 'right')
  const port = await freePort()
  const { started, readiness } = await begin({
    PORT: String(port),
    REDIS_URL: redisUrl.replace('//', '//:wr0ng@'),
    CACHE_REDIS_URL: inject('redisUrl'),
  })
  const redis = 'REDIS_URL was never reached: it refuses the user or the password (WRONGPASS)'
  await vi.waitFor(async () => expect(await readiness()).toMatchObject({ status: 503, reasons: { redis } }), 3000)
  expect(await connects(port)).toBe(false)
  await admin.config('SET', 'requirepass', 'wr0ng') // as if the variable had been corrected
  await started
  expect(await readiness()).toMatchObject({ status: 200, reasons: {} })
  expect(await connects(port)).toBe(true)
  await admin.config('SET', 'requirepass', '')
})

test('a cache that was never reached does not keep it from serving, and is named', async () => {
  const { started, readiness } = await begin({ REDIS_URL: redisUrl, CACHE_REDIS_URL: 'redis://127.0.0.1:1' })
  await started
  const { status, degraded } = await readiness()
  expect(status).toBe(200)
  expect(degraded).toContain('CACHE_REDIS_URL was never reached: it cannot be reached (ECONNREFUSED)')
})

test('stops while it waits for Redis', async () => {
  const { started, readiness } = await begin({ REDIS_URL: 'redis://127.0.0.1:1', CACHE_REDIS_URL: redisUrl })
  await vi.waitFor(async () => expect((await readiness()).reasons.redis).toContain('ECONNREFUSED'), 3000)
  await api.stop()
  await started
})
