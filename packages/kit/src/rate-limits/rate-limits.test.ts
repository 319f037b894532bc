import { randomUUID } from 'node:crypto'
import { startFaultProxy } from '@escala/testing/fault-proxy'
import { afterAll, describe, expect, inject, test, vi } from 'vitest'
import { createLog } from '../log/log.ts'
import { createRedis, stopRedis } from '../redis/redis.ts'
import { createGcraRateLimits } from './gcra.ts'
import { begin, describeRateLimits, hit, policy } from './rate-limits.contract.ts'
import { createRedisRateLimits } from './redis.ts'

const log = createLog({ service: 'test', replicaId: 't', version: '0', level: 'silent' })
// Long: how fast a busy machine answers is not what these tests are about.
const connect = () => createRedis({ url: inject('redisUrl'), role: 'request', log, timeoutMs: 5000 })
const clients = [connect(), connect()] as const
await Promise.all(clients.map((redis) => new Promise((resolve) => redis.once('ready', resolve))))
afterAll(() => Promise.all(clients.map(stopRedis)))
/** Notes the name of each command. */
async function connectWatched() {
  const redis = connect()
  await new Promise((resolve) => redis.once('ready', resolve))
  const sent: string[] = []
  const { sendCommand } = redis
  redis.sendCommand = (command, stream) => {
    sent.push(command.name)
    return sendCommand.call(redis, command, stream)
  }
  return { redis, sent }
}
const prefix = () => `test:${randomUUID()}:`

describeRateLimits('rate limits in Redis', () => {
  const shared = prefix()
  return [
    createRedisRateLimits({ redis: clients[0], prefix: shared }),
    createRedisRateLimits({ redis: clients[1], prefix: shared }),
  ]
})

describe('redis', () => {
  test('begun without Redis, it works as soon as Redis is there', async () => {
    const proxy = await startFaultProxy({ target: inject('redisUrl') })
    await proxy.refuse()
    const redis = createRedis({ url: proxy.url, role: 'request', log })
    const store = begin(createRedisRateLimits({ redis, prefix: prefix() }), policy())
    await expect(store.increment('a')).rejects.toThrow()
    await proxy.heal()
    await vi.waitFor(async () => expect((await hit(store, 'a')).totalHits).toBe(1), { timeout: 5000 })
    await stopRedis(redis)
    await proxy.stop()
  })

  test('what is counted in one turn of the event loop is one command, and each count is right', async () => {
    const { redis, sent } = await connectWatched()
    const stores = createRedisRateLimits({ redis, prefix: prefix() })
    const short = begin(stores, policy({ name: 'short', windowMs: 30_000 }))
    const long = begin(stores, policy({ name: 'long' }))
    const counts = await Promise.all([short, long, short].map((store) => store.increment('a')))
    expect(sent.filter((name) => name === 'evalsha')).toHaveLength(1)
    expect(counts.map(({ totalHits }) => totalHits)).toEqual([1, 1, 2])
    const seconds = counts.map(({ resetTime }) => Math.ceil(((resetTime?.getTime() ?? 0) - Date.now()) / 15_000))
    expect(seconds).toEqual([2, 4, 2])
    await stopRedis(redis)
  })

  test('goes on when Redis has forgotten its scripts', async () => {
    const store = begin(createRedisRateLimits({ redis: clients[0], prefix: prefix() }), policy())
    await hit(store, 'a')
    await clients[0].script('FLUSH')
    expect((await hit(store, 'a')).totalHits).toBe(2)
  })

  test('goes on after an outage that began while it was loading them again', async () => {
    const redis = connect()
    await new Promise((resolve) => redis.once('ready', resolve))
    const store = begin(createRedisRateLimits({ redis, prefix: prefix() }), policy())
    await hit(store, 'a')
    await redis.script('FLUSH')
    const { eval: load } = redis
    redis.eval = (() => {
      redis.eval = load
      return Promise.reject(new Error('connection lost'))
    }) as typeof redis.eval
    await expect(store.increment('a')).rejects.toThrow('connection lost')
    expect((await hit(store, 'a')).totalHits).toBe(2)
    await stopRedis(redis)
  })

  test('giving back after the window leaves no counter that never ends', async () => {
    const keys = prefix()
    const store = begin(createRedisRateLimits({ redis: clients[0], prefix: keys }), policy({ windowMs: 20 }))
    await hit(store, 'a')
    await vi.waitFor(async () => expect(await clients[0].keys(`${keys}*`)).toEqual([]))
    await store.decrement('a')
    expect(await clients[0].keys(`${keys}*`)).toEqual([])
  })
})

describe('gcra', () => {
  const create = (limit: number, windowMs: number, burst: number) => {
    const given = policy({ limit, windowMs })
    const stores = clients.map((redis) => createGcraRateLimits({ redis, prefix: shared, burst: () => burst }))
    return stores.map((replica) => begin(replica, given)) as [ReturnType<typeof begin>, ReturnType<typeof begin>]
  }
  const shared = prefix()

  test('lets the burst through at once, over both replicas, and says when to retry', async () => {
    const [a, b] = create(10, 10_000, 4)
    const key = randomUUID()
    const results = await Promise.all(Array.from({ length: 12 }, (_, i) => (i % 2 ? a : b).increment(key)))
    expect(results.filter(({ totalHits }) => totalHits <= 10)).toHaveLength(4)
    const { totalHits, resetTime } = await hit(a, key)
    expect(totalHits).toBe(11)
    expect((resetTime?.getTime() ?? 0) - Date.now()).toBeGreaterThan(500)
    expect((resetTime?.getTime() ?? 0) - Date.now()).toBeLessThanOrEqual(1000)
  })

  test('in any window at most limit + burst pass', async () => {
    const [a, b] = create(20, 400, 4)
    const key = randomUUID()
    const passed: number[] = []
    const end = performance.now() + 1200
    for (let i = 0; performance.now() < end; i++) {
      const { totalHits } = await hit(i % 2 ? a : b, key)
      if (totalHits <= 20) passed.push(performance.now())
    }
    const most = Math.max(...passed.map((from) => passed.filter((at) => at >= from && at < from + 400).length))
    expect(most).toBeLessThanOrEqual(25) // one more: times are taken here, after Redis's own
    expect(most).toBeGreaterThanOrEqual(18)
  })
})
