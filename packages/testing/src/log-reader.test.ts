import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest'
import { createDriver } from './environment.ts'
import { type Replica, waitUntilReady } from './replica.ts'
import { templateDatabase } from './template.ts'
import { createTestDatabase, type TestDatabase } from './test-database.ts'

let folder: string
let database: TestDatabase
let replica: Replica

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'escala-piped-'))
  const adminUrl = inject('postgresUrl')
  database = await createTestDatabase(adminUrl, { template: await templateDatabase(adminUrl) })
  replica = await (await createDriver('local')).startReplica(folder, {
    id: 'piped',
    role: 'api',
    pipedLogs: true,
    env: {
      NODE_ENV: 'test',
      DATABASE_URL: database.url,
      REDIS_URL: inject('redisUrl'),
      CACHE_REDIS_URL: inject('redisUrl'),
      SESSION_SECRETS: 'a'.repeat(32),
      RATE_LIMIT_PER_MINUTE: '100000',
      MAX_LOOP_DELAY_MS: '10000',
      REFUSE_MS: '0',
    },
  })
  await waitUntilReady(replica)
})
afterAll(async () => {
  await replica?.remove()
  await database?.drop()
  await rm(folder, { recursive: true, force: true })
})

const ask = async (name: string) =>
  (await fetch(`${replica.url}/${name}`, { signal: AbortSignal.timeout(5000) })).status
const logged = (name: string) => vi.waitFor(() => expect(replica.logs()).toContain(name), { timeout: 5000 })

test('the reader of a log can stand still, go on, leave, and be there again after a restart', async () => {
  expect(await ask('before')).toBe(404)
  await logged('/before')

  replica.logReader?.stall()
  // More than the pipe and this process's end of it hold.
  for (let count = 0; count < 20; count++) await Promise.all(Array.from({ length: 50 }, () => ask('stalled')))
  expect(await ask('unread')).toBe(404)
  replica.logReader?.goOn()
  await logged('/stalled')

  replica.logReader?.leave()
  expect([await ask('left'), await ask('gone')]).toEqual([404, 404])
  await replica.restart()
  expect(await ask('after')).toBe(404)
  await logged('/after')
  expect(replica.logs()).not.toContain('/gone')
})
