import { randomUUID } from 'node:crypto'
import { startFaultProxy } from '@escala/testing/fault-proxy'
import { afterEach, expect, inject, test, vi } from 'vitest'
import { createLog } from '../log/log.ts'
import { createRedis, stopRedis } from '../redis/redis.ts'
import { describeEvents, listen, upTo } from './events.contract.ts'
import { createMemoryEvents } from './memory.ts'
import { createRedisEvents, type RedisEventsOptions } from './redis.ts'

const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
const prefix = `test:${randomUUID()}:{events}`
const stops: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop()
})

async function create(options: Partial<RedisEventsOptions> = {}, url = inject('redisUrl')) {
  const redis = createRedis({ url, role: 'request', log })
  const reader = createRedis({ url, role: 'reader', log })
  await vi.waitFor(() => expect(redis.status).toBe('ready'))
  const events = createRedisEvents({ redis, reader, log, prefix, ...options })
  const stop = async () => {
    await events.stop()
    await stopRedis(redis)
  }
  return { events: { ...events, stop }, redis, reader }
}
async function replica(options?: Partial<RedisEventsOptions>, url?: string) {
  const made = await create(options, url)
  stops.push(made.events.stop)
  return made
}

describeEvents('memory', async (maxHistory) => createMemoryEvents({ maxHistory }))
describeEvents('redis', async (maxHistory) => (await create({ maxHistory })).events)

test('100 events from three replicas reach the clients of each, in one order', async () => {
  const replicas = [await replica(), await replica(), await replica()]
  const channel = randomUUID()
  const clients = await Promise.all(replicas.flatMap(({ events }) => [1, 2].map(() => listen(events, channel))))
  const ids: string[] = []
  for (const n of upTo(100)) {
    ids.push((await replicas[n % 3]?.events.publish(channel, { type: 'n', data: n })) as string)
  }
  for (const client of clients) {
    await vi.waitFor(() => expect(client.seen.map(({ id }) => id)).toEqual(ids))
    expect(client.gaps()).toBe(0)
  }
})

test('a client that changes replicas, while events go on, misses none', async () => {
  const [one, two] = [await replica(), await replica()]
  const channel = randomUUID()
  const firstId = await one.events.publish(channel, { type: 'n', data: 0 })
  const publishing = (async () => {
    for (const n of upTo(300)) await one.events.publish(channel, { type: 'n', data: n })
  })()
  const seen: unknown[] = []
  let afterId = firstId
  for (let turn = 0; seen.length < 300; turn++) {
    const client = await listen((turn % 2 ? one : two).events, channel, afterId)
    await vi.waitFor(() => expect(client.seen.length).toBeGreaterThan(0), { interval: 5 })
    client.stop()
    seen.push(...client.numbers())
    afterId = client.seen.at(-1)?.id ?? afterId
    expect(client.gaps()).toBe(0)
  }
  await publishing
  expect(seen).toEqual(upTo(300))
})

test('one blocked connection, however many clients and channels', async () => {
  const { events, redis } = await replica()
  const before = await blocked(redis)
  for (let i = 0; i < 50; i++) await listen(events, `many-${i}`)
  expect(await blocked(redis)).toBeLessThanOrEqual(before)
})

async function blocked(redis: Awaited<ReturnType<typeof create>>['redis']) {
  const clients = (await redis.client('LIST')) as string
  return clients.split('\n').filter((line) => line.includes('cmd=xread')).length
}

test('an unreadable entry costs no other', async () => {
  const { events, redis } = await replica()
  const channel = randomUUID()
  const stream = `${prefix}:${channel}`
  const firstId = await events.publish(channel, { type: 'n', data: 0 })
  const client = await listen(events, channel)
  const added = redis.multi()
  for (const data of ['1', '{not JSON', '2']) added.xadd(stream, '*', 't', 'n', 'd', data)
  await added.exec()
  await vi.waitFor(() => expect(client.numbers()).toEqual([1, 2]))
  const late = await listen(events, channel, firstId)
  await vi.waitFor(() => expect(late.numbers()).toEqual([1, 2]))
})

test('an interruption is caught up with', async () => {
  const proxy = await startFaultProxy({ target: inject('redisUrl') })
  stops.push(() => proxy.stop())
  const [near, far] = [await replica(), await replica({}, proxy.url)]
  const channel = randomUUID()
  await near.events.publish(channel, { type: 'n', data: 0 })
  const client = await listen(far.events, channel)
  await proxy.refuse()
  await expect(far.events.subscribe(channel, { onEvent() {}, onGap() {} })).rejects.toMatchObject({
    code: 'E_REDIS_UNAVAILABLE',
  })
  for (const n of upTo(5)) await near.events.publish(channel, { type: 'n', data: n })
  await proxy.heal()
  await vi.waitFor(() => expect(client.numbers()).toEqual(upTo(5)), 4000)
  expect(client.gaps()).toBe(0)
})

test('a connection that goes silent is noticed, and what came meanwhile is caught up with', async () => {
  const proxy = await startFaultProxy({ target: inject('redisUrl') })
  stops.push(() => proxy.stop())
  const [near, far] = [await replica(), await replica({}, proxy.url)]
  const channel = randomUUID()
  await near.events.publish(channel, { type: 'n', data: 0 })
  const client = await listen(far.events, channel)
  proxy.silence()
  for (const n of upTo(5)) await near.events.publish(channel, { type: 'n', data: n })
  await vi.waitFor(() => expect(client.numbers()).toEqual(upTo(5)), 5000)
  expect(client.gaps()).toBe(0)
})

test('an interruption that outlasts or loses the history is reported', async () => {
  const proxy = await startFaultProxy({ target: inject('redisUrl') })
  stops.push(() => proxy.stop())
  const [near, far] = [await replica({ maxHistory: 5 }), await replica({ maxHistory: 5 }, proxy.url)]
  const [busy, lost] = [randomUUID(), randomUUID()]
  for (const channel of [busy, lost]) await near.events.publish(channel, { type: 'n', data: 0 })
  const clients = [await listen(far.events, busy), await listen(far.events, lost)]
  await proxy.refuse()
  for (const n of upTo(300)) await near.events.publish(busy, { type: 'n', data: n })
  await near.redis.del(`${prefix}:${lost}`)
  await proxy.heal()
  for (const client of clients) await vi.waitFor(() => expect(client.gaps()).toBe(1), 4000)
  for (const channel of [busy, lost]) await near.events.publish(channel, { type: 'n', data: 'new' })
  for (const client of clients) await vi.waitFor(() => expect(client.numbers().at(-1)).toBe('new'))
})

test('an event that is too large is refused by its publisher', async () => {
  const { events } = await replica()
  await expect(events.publish(randomUUID(), { type: 'n', data: 'x'.repeat(70_000) })).rejects.toThrow('65536 bytes')
})
