import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { mountRoutes } from '@escala/kit/http/mount'
import { problemHandler } from '@escala/kit/http/problem'
import { requestContext } from '@escala/kit/http/request-context'
import { createLog } from '@escala/kit/log/log'
import { createPasswords } from '@escala/kit/passwords/passwords'
import { scrypt } from '@escala/kit/passwords/scrypt'
import { createPostgres } from '@escala/kit/postgres/postgres'
import { createLogInGuard } from '@escala/kit/rate-limits/log-in-guard'
import { createRedisRateLimits } from '@escala/kit/rate-limits/redis'
import { createRedis, stopRedis } from '@escala/kit/redis/redis'
import { createDeviceCookies } from '@escala/kit/sessions/device'
import { createMemorySessions } from '@escala/kit/sessions/memory'
import { createSessionMiddleware } from '@escala/kit/sessions/middleware'
import { createClient, expectStatus } from '@escala/testing/client'
import { templateDatabase } from '@escala/testing/template'
import { createTestDatabase } from '@escala/testing/test-database'
import express from 'express'
import { afterAll, expect, inject, test } from 'vitest'
import { createLogInLimits } from './log-in-limits.ts'
import { logInPath, sessionRoutes } from './routes/session.ts'
import { userRoutes } from './routes/users.ts'

const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
const secrets = ['a'.repeat(32)]
const template = await templateDatabase(inject('postgresUrl'))
const database = await createTestDatabase(inject('postgresUrl'), { template })
const postgres = createPostgres({
  url: database.url,
  log,
  applicationName: 'test',
  maxConnections: 5,
  timeoutMs: 5000,
})
const redis = createRedis({ url: inject('redisUrl'), role: 'request', log, timeoutMs: 5000 })
await once(redis, 'ready')
const stops: (() => unknown)[] = [database.drop, postgres.stop, () => stopRedis(redis)]
afterAll(async () => {
  for (const stop of stops.reverse()) await stop()
})

/** The account routes with one hash at a time, which takes as long as `hold` says, and two that may wait. */
async function serve(hold: () => Promise<void>, perAddress = 100) {
  const cheap = scrypt({ cost: 2 ** 8, blockSize: 8, parallelization: 1 })
  const held = {
    ...cheap,
    async verify(password: string, hash: string) {
      await hold()
      return cheap.verify(password, hash)
    },
  }
  const devices = createDeviceCookies({ secrets, path: logInPath })
  const stores = createRedisRateLimits({ redis, prefix: `test:${randomUUID()}:` })
  const guard = createLogInGuard({ redis, prefix: `test:${randomUUID()}:` })
  const deps = {
    postgres,
    devices,
    passwords: createPasswords({ forms: { argon2id: undefined, scrypt: held }, maxConcurrent: 1, maxWaitMs: 100 }),
    limits: createLogInLimits({ stores, guard, devices, log, perAddress, share: () => 1, patienceMs: 1000 }),
  }
  const app = express()
  app.set('trust proxy', 1)
  app.use(requestContext({ log, replicaId: 'test', exposeReplica: false, deadlineMs: 20_000 }))
  app.use(createSessionMiddleware({ sessions: createMemorySessions(), secrets }))
  mountRoutes(app, [...userRoutes(deps), ...sessionRoutes(deps)], { roles: [], hasRole: async () => false })
  app.use(problemHandler)
  const server = app.listen(0, '127.0.0.1')
  await once(server, 'listening')
  stops.push(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return (address: string) => createClient(url, { keepAlive: false, headers: { 'x-forwarded-for': address } })
}

test('guesses from many addresses leave a place for a device that logged in before', async () => {
  const elsewhere = await serve(async () => undefined)
  const owner = elsewhere('192.0.2.1')
  const { email, password } = await owner.signUp()
  await owner.logIn(email, password)

  const guessing = Promise.withResolvers<void>()
  const client = await serve(() => guessing.promise) // has measured nothing yet: two may wait
  const refused: number[] = []
  const guess = async (address: string) => {
    const { status } = await client(address).post('/v1/session', { email: `${randomUUID()}@example.com`, password })
    if (status === 503) refused.push(status)
    return status
  }
  const guesses = Array.from({ length: 8 }, (_, i) => guess(`198.51.100.${i}`))
  await expect.poll(() => refused.length).toBe(5) // one is at work, two wait
  const newcomer = await client('192.0.2.2').post('/v1/session', { email, password })
  expect(newcomer).toMatchObject({ status: 503, body: { code: 'E_OVERLOADED' } })
  const known = client('192.0.2.3')
  for (const [name, value] of owner.cookies) known.cookies.set(name, value)
  const again = known.post('/v1/session', { email, password })
  await expect.poll(() => refused.length).toBe(6) // its place was a stranger's
  guessing.resolve()
  expectStatus(await again, 200)
  expect((await Promise.all(guesses)).sort()).toEqual([401, 401, ...Array(6).fill(503)])
})

test('what a device is refused does not keep others at its address from logging in', async () => {
  const client = await serve(async () => undefined, 10)
  const address = '192.0.2.4'
  const [busy, quiet] = [client(address), client(address)]
  const accounts = [await busy.signUp(), await quiet.signUp()] as const
  await busy.logIn(accounts[0].email, accounts[0].password)
  await quiet.logIn(accounts[1].email, accounts[1].password)
  const wrong = () => busy.post('/v1/session', { email: accounts[0].email, password: 'wrong horse' })
  const tries = await Promise.all(Array.from({ length: 15 }, wrong))
  expect(tries.map(({ status }) => status).sort()).toEqual([...Array(5).fill(401), ...Array(10).fill(429)])
  await quiet.logIn(accounts[1].email, accounts[1].password)
})
