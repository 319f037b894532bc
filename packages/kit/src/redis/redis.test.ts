import { randomUUID } from 'node:crypto'
import { startFaultProxy } from '@escala/testing/fault-proxy.ts'
import { afterEach, expect, inject, test, vi } from 'vitest'
import { createLog } from '../log/log.ts'
import { createRedis, stopRedis } from './redis.ts'
import { createScript } from './script.ts'

const log = createLog({ service: 'test', replicaId: 't', version: '0', level: 'silent' })
const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop()
})

async function connect(url = inject('redisUrl')) {
  const redis = createRedis({ url, role: 'request', log, timeoutMs: 200 })
  stops.push(() => stopRedis(redis))
  await new Promise((resolve) => redis.once('ready', resolve))
  return redis
}

async function throughProxy() {
  const proxy = await startFaultProxy({ target: inject('redisUrl') })
  stops.push(() => proxy.stop())
  return { proxy, redis: await connect(proxy.url) }
}

test('commands of one turn of the event loop leave in one write', async () => {
  const redis = await connect()
  const one = vi.spyOn(redis.stream, '_write')
  const many = vi.spyOn(redis.stream as Required<typeof redis.stream>, '_writev')
  await Promise.all([redis.ping(), Promise.resolve().then(() => redis.ping()), redis.ping()])
  expect([one.mock.calls.length, many.mock.calls.length]).toEqual([0, 1])
})

test('a busy connection does not hold new commands back until older ones are answered', async () => {
  const { proxy, redis } = await throughProxy()
  proxy.delay(60)
  const times: number[] = []
  for (let i = 0; i < 5; i++) {
    const first = redis.ping()
    await new Promise((resolve) => setTimeout(resolve, 30)) // the first is on its way now
    const began = performance.now()
    await redis.ping()
    times.push(performance.now() - began)
    await first
  }
  expect(Math.min(...times)).toBeLessThan(178) // the best of some: a busy machine only adds
})

test.each(['refuse', 'hang', 'reset'] as const)(
  'fails within its time when Redis does not answer: %s',
  async (fault) => {
    const { proxy, redis } = await throughProxy()
    await proxy[fault]()
    const began = performance.now()
    await expect(redis.ping()).rejects.toThrow()
    expect(performance.now() - began).toBeLessThan(2000) // by default it would be ten seconds, or for ever
    await proxy.heal()
    await expect.poll(() => redis.ping().catch(() => 'not yet'), { timeout: 5000 }).toBe('PONG')
  },
)

test('a command whose answer was lost is not sent again', async () => {
  const { proxy, redis } = await throughProxy()
  const key = `test:${randomUUID()}`
  proxy.dropNextReply()
  await expect(redis.incr(key)).rejects.toThrow()
  await expect.poll(() => redis.get(key).catch(() => 'not yet'), { timeout: 5000 }).toBe('1')
  await redis.del(key)
})

test('a script runs on a server that does not know it yet', async () => {
  const redis = await connect()
  const key = `test:${randomUUID()}`
  const script = createScript(
    `-- ${key}\nredis.call('SET', KEYS[1], ARGV[1], 'PX', 1000)\nreturn redis.call('GET', KEYS[1])`,
  )
  expect(await script.run(redis, [key], ['first'])).toBe('first')
  expect(await script.run(redis, [key], ['second'])).toBe('second')
  await expect(createScript('return nothing.here').run(redis, [key], [])).rejects.toThrow(/nothing/)
})
