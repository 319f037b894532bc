import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { startFaultProxy } from '@escala/testing/fault-proxy'
import express, { type RequestHandler } from 'express'
import { rateLimit } from 'express-rate-limit'
import { afterEach, expect, inject, test } from 'vitest'
import { problemHandler } from '../http/problem.ts'
import { requestContext } from '../http/request-context.ts'
import { createLog } from '../log/log.ts'
import { createRedis, stopRedis } from '../redis/redis.ts'
import { createMemoryRateLimits } from './memory.ts'
import { addressKey, createRateLimit } from './middleware.ts'
import { policy } from './rate-limits.contract.ts'
import { createRedisRateLimits } from './redis.ts'

const log = createLog({ service: 'test', replicaId: 't', version: '0', level: 'silent' })
const stops: (() => unknown)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop()
})

async function serve(...middlewares: RequestHandler[]) {
  const app = express()
  app.set('trust proxy', 1)
  app.use(requestContext({ log, replicaId: 't', exposeReplica: false, deadlineMs: 5000 }))
  app.use(...middlewares)
  app.get('/', (_req, res) => void res.json({}))
  app.use(problemHandler)
  const server = createServer(app).listen(0, '127.0.0.1')
  await once(server, 'listening')
  stops.push(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

// Long: how fast a busy machine answers is not what these tests are about.
async function connect(url: string, { isReady = true, timeoutMs = 5000 } = {}) {
  const redis = createRedis({ url, role: 'request', log, timeoutMs })
  if (isReady) await new Promise((resolve) => redis.once('ready', resolve))
  stops.push(() => stopRedis(redis))
  return redis
}

async function statuses(url: string, times: number, headers?: Record<string, string>) {
  const responses = await Promise.all(Array.from({ length: times }, () => fetch(url, { headers })))
  const count: Record<number, number> = {}
  for (const { status } of responses) count[status] = (count[status] ?? 0) + 1
  return count
}

test('writes the headers that express-rate-limit writes, and a problem that says when to come again', async () => {
  const given = policy({ name: 'general', limit: 2 })
  const ours = createRateLimit({
    policy: given,
    stores: createMemoryRateLimits(),
    key: addressKey,
    log,
    onStoreError: 'refuse',
  })
  const { limit, windowMs } = given
  const theirs = rateLimit({ limit, windowMs, identifier: 'general', standardHeaders: 'draft-8', legacyHeaders: false })
  const [url, reference] = [await serve(ours.middleware), await serve(theirs)]
  for (const status of [200, 200, 429]) {
    const [answer, expected] = [await fetch(url), await fetch(reference)]
    expect(answer.status).toBe(status)
    for (const name of ['ratelimit', 'ratelimit-policy']) {
      expect(answer.headers.get(name)).toBe(expected.headers.get(name))
    }
    expect(answer.headers.get('retry-after')).toBe(expected.headers.get('retry-after'))
    if (status === 429) expect(await answer.json()).toMatchObject({ code: 'E_RATE_LIMITED', status: 429 })
  }
})

test('two policies on one request have a header each', async () => {
  const create = (name: string, limit: number) =>
    createRateLimit({
      policy: policy({ name, limit }),
      stores: createMemoryRateLimits(),
      key: addressKey,
      log,
      onStoreError: 'refuse',
    })
  const url = await serve(create('general', 600).middleware, create('log-in', 5).middleware)
  expect((await fetch(url)).headers.get('ratelimit')).toBe('"general"; r=599; t=60, "log-in"; r=4; t=60')
})

test('clients of one IPv6 network of 64 bits share a budget', async () => {
  const { middleware } = createRateLimit({
    policy: policy({ limit: 2 }),
    stores: createMemoryRateLimits(),
    key: addressKey,
    log,
    onStoreError: 'refuse',
  })
  const url = await serve(middleware)
  const from = async (address: string) => (await fetch(url, { headers: { 'x-forwarded-for': address } })).status
  expect(await from('2001:db8:1:2::1')).toBe(200)
  expect(await from('2001:db8:1:2:ffff::2')).toBe(200)
  expect(await from('2001:db8:1:2:ffff:ffff:ffff:ffff')).toBe(429)
  expect(await from('2001:db8:1:3::1')).toBe(200)
})

test('without its store, a replica allows its share, and the whole limit again afterwards', async () => {
  const proxy = await startFaultProxy({ target: inject('redisUrl') })
  stops.push(() => proxy.stop())
  const prefix = `test:${randomUUID()}:`
  const limits = await Promise.all(
    [1, 2, 3].map(async () =>
      createRateLimit({
        policy: policy({ limit: 50, windowMs: 60_000 }),
        stores: createRedisRateLimits({ redis: await connect(proxy.url, { timeoutMs: 1000 }), prefix }),
        key: () => 'one client',
        log,
        onStoreError: 'local-share',
        share: () => 3,
      }),
    ),
  )
  const urls = await Promise.all(limits.map(({ middleware }) => serve(middleware)))
  const all = async (times: number) => {
    const counts = await Promise.all(urls.map((url) => statuses(url, times)))
    return counts.reduce((sum, count) => sum + (count[200] ?? 0), 0)
  }
  proxy.hang()
  expect(await all(40)).toBe(3 * 17)
  expect(limits.map((limit) => limit.degraded())).toEqual([true, true, true])
  const began = performance.now()
  for (let i = 0; i < 20; i++) await fetch(urls[0] ?? '')
  expect(performance.now() - began).toBeLessThan(10_000) // not each of them waits for Redis: that would be 20 s
  await proxy.heal()
  await expect
    .poll(async () => (await all(1)) >= 0 && limits.some((limit) => limit.degraded()), { timeout: 5000, interval: 100 })
    .toBe(false)
  let passed = 0
  for (let i = 0; i < 20; i++) passed += await all(1)
  expect(passed).toBeLessThanOrEqual(50)
})

test('`refuse`: without its store no request passes', async () => {
  const { middleware } = createRateLimit({
    policy: policy(),
    stores: createRedisRateLimits({ redis: await connect('redis://127.0.0.1:1', { isReady: false }) }),
    key: addressKey,
    log,
    onStoreError: 'refuse',
  })
  const answer = await fetch(await serve(middleware))
  expect(answer.status).toBe(503)
  expect(answer.headers.get('retry-after')).toBe('1')
  expect(await answer.json()).toMatchObject({ code: 'E_REDIS_UNAVAILABLE' })
})

test('300 requests at once over three replicas: exactly the limit passes', async () => {
  const prefix = `test:${randomUUID()}:`
  const urls = await Promise.all(
    [1, 2, 3].map(async () => {
      const { middleware } = createRateLimit({
        policy: policy({ limit: 50 }),
        stores: createRedisRateLimits({ redis: await connect(inject('redisUrl')), prefix }),
        key: addressKey,
        log,
        onStoreError: 'local-share',
        share: () => 3,
      })
      return serve(middleware)
    }),
  )
  const counts = await Promise.all(urls.map((url) => statuses(url, 100)))
  expect(counts.reduce((sum, count) => sum + (count[200] ?? 0), 0)).toBe(50)
  expect(counts.reduce((sum, count) => sum + (count[429] ?? 0), 0)).toBe(250)
})
