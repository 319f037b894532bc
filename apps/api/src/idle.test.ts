import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { readConfig } from '@escala/kit/config/config'
import { templateDatabase } from '@escala/testing/template'
import { createTestDatabase } from '@escala/testing/test-database'
import { startWireTap, type WireTap } from '@escala/testing/wire-tap'
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest'
import { apiConfigSettings, compose } from './compose.ts'
import { onLoopback } from './test-replica.ts'

const heartbeatMs = 250
const stops: (() => Promise<unknown>)[] = []
let tap: WireTap

beforeAll(async () => {
  const template = await templateDatabase(inject('postgresUrl'))
  const database = await createTestDatabase(inject('postgresUrl'), { template })
  stops.push(database.drop)
  const redisUrl = inject('redisUrl')
  tap = await startWireTap({ databaseUrl: database.url, redisUrl, cacheRedisUrl: redisUrl })
  stops.push(tap.stop)
  const env = {
    DATABASE_URL: tap.databaseUrl,
    REDIS_URL: tap.redisUrl,
    CACHE_REDIS_URL: tap.cacheRedisUrl,
    ...onLoopback,
    APP_NAME: `idle-${randomUUID().slice(0, 8)}`, // hears no other test's broadcasts
    HEARTBEAT_MS: String(heartbeatMs),
    DATABASE_TIMEOUT_MS: '500',
    REDIS_TIMEOUT_MS: '10000',
    MAX_LOOP_DELAY_MS: '10000',
  }
  const api = await compose(readConfig(env, apiConfigSettings))
  await api.start()
  stops.push(api.stop)
})

afterAll(async () => {
  for (const stop of stops.reverse()) await stop()
})

const isHeartbeat = (statement: string) => statement === 'replicas-beat'

test('an idle replica sends Postgres one statement for each heartbeat, and Redis nothing but PING', async () => {
  await vi.waitFor(
    async () => {
      const { statements } = await tap.count(() => wait(2 * heartbeatMs))
      expect(statements.filter((statement) => !isHeartbeat(statement))).toEqual([]) // the first heartbeats find that all is new
    },
    { timeout: 10_000 },
  )
  const startedAt = performance.now()
  const { statements, commands } = await tap.count(() => wait(5000)) // longer than anything that is polled
  expect(statements.filter((statement) => !isHeartbeat(statement))).toEqual([])
  expect(commands).toEqual([])
  expect(statements.length).toBeGreaterThan(0)
  expect(statements.length).toBeLessThanOrEqual((performance.now() - startedAt) / (heartbeatMs * 0.8) + 1)
})
