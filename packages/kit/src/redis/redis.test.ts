import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { startFaultProxy } from '@escala/testing/fault-proxy'
import { afterEach, expect, inject, test, vi } from 'vitest'
import { createLog } from '../log/log.ts'
import { createRedis, listenTo, longestBlockMs, type RedisConnection, type RedisRole, stopRedis } from './redis.ts'
import { createScript } from './script.ts'

const log = createLog({ service: 'test', replicaId: 't', version: '0', level: 'silent' })
const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop()
})

async function connect(url = inject('redisUrl'), role: RedisRole = 'request') {
  const redis = createRedis({ url, role, log, timeoutMs: 200 })
  stops.push(() => stopRedis(redis))
  await new Promise((resolve) => redis.once('ready', resolve))
  return redis
}

async function throughProxy(role?: RedisRole) {
  const proxy = await startFaultProxy({ target: inject('redisUrl') })
  stops.push(() => proxy.stop())
  return { proxy, redis: await connect(proxy.url, role) }
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

// What each role does in the application; each resolves once an answer has come.
const uses: Record<RedisRole, (redis: RedisConnection) => Promise<unknown>> = {
  request: (redis) => vi.waitFor(() => redis.ping(), { timeout: 10_000, interval: 50 }),
  blocking: (redis) => redis.bzpopmin(`test:${randomUUID()}`, 0.01),
  async reader(redis) {
    let answered = false
    while (!answered) {
      await wait(20)
      if (redis.status !== 'ready') continue
      const closed = new Promise((resolve) => redis.once('close', resolve)) // then its command never settles
      const read = redis.xread('BLOCK', 1, 'STREAMS', 'test:none', '$').then(() => true)
      answered = await Promise.race([read, closed.then(() => false)]).catch(() => false)
    }
  },
  async subscriber(subscriber) {
    const [near, channel] = [await connect(), `test:${randomUUID()}`]
    const onMessage = vi.fn()
    const stop = listenTo({ subscriber, channel, onMessage, onListening() {} })
    await vi.waitFor(
      async () => {
        await near.publish(channel, 'hello')
        expect(onMessage).toHaveBeenCalled()
      },
      { timeout: 10_000, interval: 50 },
    )
    stop()
  },
}
const roles = Object.keys(uses) as RedisRole[]

test('a connection that goes silent is made again within 5 s, whatever its role', async () => {
  const one = async (role: RedisRole) => {
    const { proxy, redis } = await throughProxy(role)
    await uses[role](redis)
    proxy.silence()
    const began = performance.now()
    const noticed = vi.waitFor(() => expect(redis.isAnswering(), role).toBe(false), { timeout: 4000, interval: 20 })
    await Promise.all([uses[role](redis), noticed])
    expect(performance.now() - began, role).toBeLessThan(5000)
    await vi.waitFor(() => expect(redis.isAnswering(), role).toBe(true))
  }
  await Promise.all(roles.map(one))
})

test('an unused connection is replaced, too, when it goes silent', async () => {
  const idle = roles.filter((role) => role !== 'reader') // a reader always waits at the server
  const one = async (role: RedisRole) => {
    const { proxy, redis } = await throughProxy(role)
    const made = vi.fn()
    redis.on('ready', made)
    proxy.silence()
    await vi.waitFor(() => expect(redis.isAnswering(), role).toBe(false), { timeout: 4000, interval: 20 })
    await vi.waitFor(() => expect(made, role).toHaveBeenCalled(), { timeout: 8000 })
    expect(redis.isAnswering(), role).toBe(true)
  }
  await Promise.all(idle.map(one))
})

test('idle connections stay, and so does one that waits at the server as long as it may', async () => {
  const connections = await Promise.all(roles.map((role) => connect(undefined, role)))
  const waiting = connections[roles.indexOf('blocking')] as RedisConnection
  const closed = vi.fn()
  for (const redis of connections) redis.on('close', closed)
  for (let i = 0; i < 2; i++) expect(await waiting.bzpopmin('test:none', longestBlockMs / 1000)).toBeNull()
  expect(closed).not.toHaveBeenCalled()
})

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
