import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Api, apiConfigSettings, compose as composeApi } from '@escala/api/compose'
import { readConfig } from '@escala/kit/config/config'
import { createLog } from '@escala/kit/log/log'
import { createPostgresOutbox } from '@escala/kit/outbox/postgres'
import { createPostgres } from '@escala/kit/postgres/postgres'
import { createClient, expectStatus } from '@escala/testing/client'
import { createDriver } from '@escala/testing/environment'
import { seedPassword, templateDatabase } from '@escala/testing/template'
import { createTestDatabase } from '@escala/testing/test-database'
import { Redis } from 'ioredis'
import { afterAll, expect, inject, test, vi } from 'vitest'
import { compose, workerConfigSettings } from './compose.ts'

// Holds the lines of docs/redis.md to what the programs really send.
const page = readFileSync(new URL('../../../docs/redis.md', import.meta.url), 'utf8')
const stops: (() => Promise<unknown>)[] = []
afterAll(async () => {
  for (const stop of stops.reverse()) await stop()
})

async function startRedis(name: string) {
  const folder = await mkdtemp(join(tmpdir(), 'escala-users-'))
  stops.push(() => rm(folder, { recursive: true, force: true }))
  const server = await (await createDriver(inject('driver'))).startRedis(folder, {})
  const admin = new Redis(server.url)
  stops.push(server.stop, async () => admin.disconnect())
  const [, rules] = new RegExp(`^user ${name} (.*)$`, 'm').exec(page) ?? []
  await admin.call('ACL', 'SETUSER', name, ...(rules ?? '').replace('PASSWORD', 'pw').split(' '))
  return { admin, url: server.url.replace('//', `//${name}:pw@`) }
}

test('the API and the worker need no command beyond those of docs/redis.md', async () => {
  const [state, cache] = await Promise.all([startRedis('escala'), startRedis('cache')])
  const template = await templateDatabase(inject('postgresUrl'))
  const database = await createTestDatabase(inject('postgresUrl'), { template })
  stops.push(database.drop)
  const env = {
    LOG_LEVEL: 'silent',
    HOST: '127.0.0.1',
    INTERNAL_PORT: '0',
    DATABASE_URL: database.url,
    REDIS_URL: state.url,
    CACHE_REDIS_URL: cache.url,
    REDIS_TIMEOUT_MS: '5000',
    REFUSE_MS: '0',
  }
  const apiEnv = { ...env, REPLICA_ID: 'api', PORT: '0', SESSION_SECRETS: 'a'.repeat(32), MAX_LOOP_DELAY_MS: '10000' }
  const api: Api = await composeApi(readConfig(apiEnv, apiConfigSettings))
  stops.push(api.stop)
  await api.start()
  const worker = await compose(
    readConfig(
      {
        ...env,
        REPLICA_ID: 'worker',
        JOB_ATTEMPTS: '2',
        JOB_BACKOFF_MS: '10',
        JOB_STALLED_MS: '100',
        SCHEDULES_REPAIR_MS: '100',
        PAYMENTS_URL: 'http://127.0.0.1:1',
        SMTP_URL: 'smtp://127.0.0.1:1',
      },
      workerConfigSettings,
    ),
  )
  stops.push(worker.stop)
  await worker.start()

  const user = createClient(`http://127.0.0.1:${api.port()}`)
  const { email, password } = await user.signUp()
  await user.logIn(email, password)
  expectStatus(await user.get('/v1/session'), 200)
  // sample
  const { items } = expectStatus(await user.get('/v1/shows'), 200).body
  for (const { id } of items.slice(0, 1)) {
    expectStatus(await user.get(`/v1/shows/${id}`), 200)
    expectStatus(await user.put(`/v1/cart/items/${id}`, { quantity: 1 }), 200)
    const live = await fetch(`http://127.0.0.1:${api.port()}/v1/shows/${id}/live`)
    expect(live.status).toBe(200)
    expectStatus(await user.post(`/v1/shows/${id}/orders`, { quantity: 1 }, { 'Idempotency-Key': 'k1' }), 201)
    await live.body?.cancel()
  }
  expectStatus(await user.get('/v1/cart'), 200)
  // /sample
  const organiser = createClient(`http://127.0.0.1:${api.port()}`)
  await organiser.logIn('organiser@example.com', seedPassword)
  const { items: flags } = expectStatus(await organiser.get('/v1/flags'), 200).body
  for (const { name, value } of flags) expectStatus(await organiser.put(`/v1/flags/${name}`, { value }), 200)

  // One job that fails for good, and one that succeeds.
  const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
  const postgres = createPostgres({
    url: database.url,
    log,
    applicationName: 'test',
    maxConnections: 1,
    timeoutMs: 5000,
  })
  stops.push(postgres.stop)
  for (const type of ['kit.clean', 'unknown.type']) {
    await postgres.transaction((tx) => createPostgresOutbox().add(tx, { type, aggregate: 'a', payload: null }))
  }
  const metrics = async () => (await fetch(`http://127.0.0.1:${worker.internalPort()}/metrics`)).text()
  await vi.waitFor(async () => expect(await metrics()).toMatch(/^escala_outbox_waiting\{.*\} 0$/m), 5000)
  await vi.waitFor(async () => expect(await metrics()).toMatch(/^escala_jobs\{state="active".*\} 0$/m), 5000)
  expectStatus(await user.delete('/v1/session'), 204)

  for (const { admin } of [state, cache]) {
    const refused = (await admin.call('ACL', 'LOG')) as string[][]
    expect(refused.map((entry) => entry.join(' '))).toEqual([])
  }
})
