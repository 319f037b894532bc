import { randomUUID } from 'node:crypto'
import { startFaultProxy } from '@escala/testing/fault-proxy'
import { afterEach, expect, inject, test, vi } from 'vitest'
import { createLog } from '../log/log.ts'
import { createRedis, stopRedis } from '../redis/redis.ts'
import { createRedisEvents } from './redis.ts'
import { startStreams } from './test-streams.ts'

const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
const stops: (() => unknown)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop()
})

/** A replica with a route of events, and one of a state, whose source is `total`. */
async function replica(prefix: string, url = inject('redisUrl'), source = { total: 0 }) {
  const redis = createRedis({ url, role: 'request', log })
  const reader = createRedis({ url, role: 'reader', log })
  await vi.waitFor(() => expect(redis.status).toBe('ready'))
  const events = createRedisEvents({ redis, reader, log, prefix, maxHistory: 50 })
  stops.push(async () => {
    await events.stop()
    await stopRedis(redis)
  })
  const server = await startStreams(events, (streams, context) =>
    streams.follow(context, { topic: 'n', first: async () => ({ type: 'total', data: source.total }) }),
  )
  stops.push(server.stop)
  return { ...server, redis, publish: (data: unknown) => events.publish('n', { type: 'n', data }) }
}
const upTo = (count: number, from = 1) => Array.from({ length: count }, (_, i) => ['n', i + from])
const some = () => `test:${randomUUID()}:{events}`

test('clients that change replicas all the time miss nothing, and get nothing twice', async () => {
  const prefix = some()
  const replicas = [await replica(prefix), await replica(prefix), await replica(prefix)]
  const seen: unknown[][] = []
  let client = await replicas[0]?.get()
  for (let turn = 1; turn <= 12; turn++) {
    for (let i = 0; i < 5; i++) await replicas[i % 3]?.publish((turn - 1) * 5 + i + 1)
    if (turn % 2) await vi.waitFor(() => expect(client?.shown().length).toBeGreaterThan(0))
    client?.stop()
    seen.push(...(client?.shown() ?? []))
    client = await replicas[turn % 3]?.get(client?.lastId() ?? client?.received[0]?.id)
  }
  await vi.waitFor(() => expect([...seen, ...(client?.shown() ?? [])].slice(1)).toEqual(upTo(60)))
})

test('Redis that is lost in the middle: what came meanwhile follows, and a new stream is refused', async () => {
  const prefix = some()
  const proxy = await startFaultProxy({ target: inject('redisUrl') })
  stops.push(() => proxy.stop())
  const [near, far] = [await replica(prefix), await replica(prefix, proxy.url)]
  const client = await far.get()
  await near.publish(1)
  await vi.waitFor(() => expect(client.shown()).toHaveLength(2))
  await proxy.refuse()
  for (let n = 2; n <= 4; n++) await near.publish(n)
  const refused = await far.get()
  expect([refused.status, await refused.text()]).toEqual([503, 'E_REDIS_UNAVAILABLE'])
  await proxy.heal()
  await vi.waitFor(() => expect(client.shown()).toEqual([['total', 0], ...upTo(4)]), 5000)
  expect([client.ended(), far.streams.count()]).toEqual([false, 1])
})

test('Redis that lost its history in the middle: what comes first comes again, and then what is new', async () => {
  const prefix = some()
  const proxy = await startFaultProxy({ target: inject('redisUrl') })
  stops.push(() => proxy.stop())
  const source = { total: 0 }
  const [near, far] = [await replica(prefix), await replica(prefix, proxy.url, source)]
  await near.publish(0)
  const client = await far.get()
  await vi.waitFor(() => expect(client.shown()).toHaveLength(1))
  await proxy.refuse()
  await near.redis.del(`${prefix}:n`)
  source.total = 7
  await proxy.heal()
  await vi.waitFor(() => expect(client.shown()).toEqual([['total', 0], ['total', 7]]), 5000) // biome-ignore format: pairs
  await near.publish(8)
  await vi.waitFor(() => expect(client.shown().at(-1)).toEqual(['n', 8]))
})
