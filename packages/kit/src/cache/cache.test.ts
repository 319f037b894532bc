import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { startFaultProxy } from '@escala/testing/fault-proxy'
import type { Redis } from 'ioredis'
import { afterEach, expect, inject, test, vi } from 'vitest'
import { createLog } from '../log/log.ts'
import { createRedis, stopRedis } from '../redis/redis.ts'
import { createSource, describeCache, newKey, type Price } from './cache.contract.ts'
import type { Cache } from './cache.ts'
import { createMemoryCache } from './memory.ts'
import { createTieredCache, type TieredCacheOptions } from './tiered.ts'

const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
const bounds = { maxEntries: 1000, maxBytes: 1_000_000 }
const prefix = `test:${randomUUID()}`
const stops: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop()
})

interface Replica {
  cache: Cache
  redis: Redis
  subscriber: Redis
  stop(): Promise<void>
}

async function createReplica(options: Partial<TieredCacheOptions> = {}, url = inject('redisUrl')): Promise<Replica> {
  const redis = createRedis({ url, role: 'request', log })
  const subscriber = createRedis({ url, role: 'subscriber', log })
  const l1 = { ...bounds, maxAgeMs: 5000 }
  const cache = createTieredCache({ redis, subscriber, log, l1, prefix, ...options })
  await vi.waitFor(() => expect(redis.status).toBe('ready'))
  await subscriber.subscribe(`${prefix}:invalidated`)
  const stop = async () => {
    await cache.stop()
    await Promise.all([stopRedis(redis), stopRedis(subscriber)])
  }
  return { cache, redis, subscriber, stop }
}

async function replica(options?: Partial<TieredCacheOptions>, url?: string): Promise<Replica> {
  const made = await createReplica(options, url)
  stops.push(made.stop)
  return made
}
const three = () => Promise.all([replica(), replica(), replica()])

describeCache('memory', async () => {
  const cache = createMemoryCache({ ...bounds, log })
  return { cache, stop: () => cache.stop() }
})
describeCache('tiered', createReplica)

test('200 readers of a missing key on three replicas: one load, few commands', async () => {
  const replicas = await three()
  const [key, source] = [newKey(), createSource()]
  source.ms = 200
  let commands = 0
  for (const { redis } of replicas) {
    const { sendCommand } = redis
    redis.sendCommand = (command, stream) => {
      commands++
      return sendCommand.call(redis, command, stream)
    }
  }
  const asked = Array.from({ length: 200 }, (_, i) => (replicas[i % 3] as Replica).cache.get(key, source.reading()))
  for (const value of await Promise.all(asked)) expect(value).toEqual(source.value)
  expect(source.loads).toBe(1)
  expect(commands).toBeLessThanOrEqual(33) // a script runs about three
})

test('a stale hot key on three replicas: one load renews it, and no caller waits', async () => {
  const replicas = await three()
  const [key, source] = [newKey(), createSource()]
  await replicas[0].cache.get(key, source.reading({ freshMs: 30 }))
  source.loads = 0
  source.ms = 100
  const reading = source.reading({ freshMs: 60, staleMs: 5000 })
  await replicas[0].cache.invalidate(key)
  await replicas[0].cache.get(key, reading)
  await wait(70)
  source.loads = 0
  source.ms = 1000
  const startedAt = performance.now()
  await Promise.all(Array.from({ length: 300 }, (_, i) => (replicas[i % 3] as Replica).cache.get(key, reading)))
  expect(performance.now() - startedAt).toBeLessThan(900)
  await vi.waitFor(() => expect(source.loads).toBe(1))
})

test('the one that fills dies: another takes over, two loads in all', async () => {
  const [one, two, three] = [await createReplica({ lockMs: 200 }), await replica({ lockMs: 200 }), await replica()]
  const [key, source] = [newKey(), createSource()]
  const dying = one.cache.get(key, { ...source.reading(), load: () => new Promise(() => {}), loadTimeoutMs: 60_000 })
  dying.catch(() => undefined)
  await vi.waitFor(async () => expect(await two.redis.exists(`${prefix}:{${key}}:fill`)).toBe(1))
  one.redis.disconnect()
  one.subscriber.disconnect()
  const startedAt = performance.now()
  const asked = Array.from({ length: 60 }, (_, i) => (i % 2 ? two : three).cache.get(key, source.reading()))
  for (const value of await Promise.all(asked)) expect(value).toEqual(source.value)
  expect(performance.now() - startedAt).toBeLessThan(5000) // not the dead one's 60 s
  expect(source.loads).toBe(1)
})

test('a load longer than the lock keeps it', async () => {
  const [one, two] = [await replica({ lockMs: 100 }), await replica({ lockMs: 100 })]
  const [key, source] = [newKey(), createSource()]
  source.ms = 400
  await Promise.all([one.cache.get(key, source.reading()), two.cache.get(key, source.reading())])
  expect(source.loads).toBe(1)
})

test('a load that takes longer than its value is fresh still serves those who wait', async () => {
  const replicas = await three()
  const [key, source] = [newKey(), createSource()]
  source.ms = 300
  await Promise.all(replicas.map(({ cache }) => cache.get(key, source.reading({ freshMs: 250 }))))
  expect(source.loads).toBe(1)
})

test('a failed load fails for those who wait elsewhere, instead of being tried by each in turn', async () => {
  const replicas = await three()
  const key = newKey()
  let loads = 0
  const load = () => {
    loads++
    return new Promise<undefined>(() => {})
  }
  const startedAt = performance.now()
  const reading = { load, freshMs: 1000, staleMs: 0, loadTimeoutMs: 500 }
  const results = await Promise.allSettled(replicas.map(({ cache }) => cache.get(key, reading)))
  for (const result of results) expect(result).toMatchObject({ reason: { code: 'E_TIMEOUT' } })
  expect(performance.now() - startedAt).toBeLessThan(1400) // in turn it would be 1500
  expect(loads).toBe(1)
})

test('two versions of the code with two forms of a value: each reads its own, and one change reaches both', async () => {
  const old = await three()
  const next = await three()
  const [key, source] = [newKey(), createSource()]
  const load = async () => ({ amount: source.value?.cents, version: source.value?.version ?? 0 })
  const nextForm = {
    freshMs: 10_000,
    staleMs: 0,
    version: (price: { version: number }) => price.version,
    load,
    form: 2,
  }
  const read = () =>
    Promise.all([
      ...old.map(({ cache }) => cache.get(key, source.reading())),
      ...next.map(({ cache }) => cache.get(key, nextForm)),
    ])
  const both = (version: number, cents: number) => [
    ...old.map(() => ({ version, cents })),
    ...next.map(() => ({ version, amount: cents })),
  ]
  expect(await read()).toEqual(both(1, 100))
  expect(source.loads).toBe(1)
  source.value = { version: 2, cents: 200 }
  await old[0]?.cache.invalidate(key, 2)
  await vi.waitFor(async () => expect(await read()).toEqual(both(2, 200)))
  expect(source.loads).toBe(2)
  // One that has heard nothing finds nothing older in the second tier, either.
  const late = await replica()
  expect(await late.cache.get(key, nextForm)).toEqual({ version: 2, amount: 200 })
})

test('every replica answers the new value soon after the commit', async () => {
  const replicas = await three()
  const [key, source] = [newKey(), createSource()]
  const late: number[] = []
  for (let version = 2; version < 30; version++) {
    await Promise.all(replicas.map(({ cache }) => cache.get(key, source.reading())))
    source.value = { version, cents: version * 100 }
    const startedAt = performance.now()
    await replicas[version % 3]?.cache.invalidate(key, version)
    for (const { cache } of replicas) {
      await vi.waitFor(async () => expect(await cache.get(key, source.reading())).toEqual(source.value), {
        interval: 1,
      })
    }
    late.push(performance.now() - startedAt)
  }
  // By a message, and not by the first tier's age (5 s). The median, since a busy machine can hold up any one of them.
  expect(late.sort((a, b) => a - b)[late.length >> 1]).toBeLessThan(100)
})

test('writers and readers on three replicas: never older after newer, and the last version stays', async () => {
  const replicas = await three()
  const [key, source] = [newKey(), createSource()]
  source.ms = 1
  let done = false
  const readers = replicas.flatMap(({ cache }) =>
    [1, 2, 3].map(async () => {
      for (let seen = 0; !done; ) {
        const value = (await cache.get(key, source.reading())) as Price
        expect(value.version).toBeGreaterThanOrEqual(seen)
        seen = value.version
        await wait(0)
      }
    }),
  )
  for (let version = 2; version <= 300; version++) {
    source.value = { version, cents: version }
    await replicas[version % 3]?.cache.invalidate(key, version)
    if (version % 5 === 0) await wait(2)
  }
  done = true
  await Promise.all(readers)
  for (const { cache } of replicas) {
    await vi.waitFor(async () => expect(await cache.get(key, source.reading())).toEqual(source.value))
  }
})

test('a lost message costs the age of the first tier, no more', async () => {
  const [one, deaf] = [await replica(), await replica({ l1: { ...bounds, maxAgeMs: 300 } })]
  const [key, source] = [newKey(), createSource()]
  await deaf.cache.get(key, source.reading())
  await deaf.subscriber.unsubscribe()
  source.value = { version: 2, cents: 200 }
  await one.cache.invalidate(key, 2)
  expect(await deaf.cache.get(key, source.reading())).toMatchObject({ version: 1 })
  await vi.waitFor(async () => expect(await deaf.cache.get(key, source.reading())).toEqual(source.value), 400)
})

test('an unreadable message empties the first tier, and ends nothing', async () => {
  const one = await replica()
  const [key, source] = [newKey(), createSource()]
  await one.cache.get(key, source.reading())
  for (const text of ['not JSON', '7', 'null', '{}']) await one.redis.publish(`${prefix}:invalidated`, text)
  expect(await one.cache.get(key, source.reading())).toEqual(source.value)
})

test('subscribing again empties the first tier', async () => {
  const [one, cut] = [await replica(), await replica()]
  const [key, source] = [newKey(), createSource()]
  await cut.cache.get(key, source.reading())
  cut.subscriber.disconnect()
  source.value = { version: 2, cents: 200 }
  await one.cache.invalidate(key, 2)
  expect(await cut.cache.get(key, source.reading())).toMatchObject({ version: 1 })
  await vi.waitFor(() => expect(cut.subscriber.status).toBe('end'))
  await cut.subscriber.connect()
  await vi.waitFor(async () => expect(await cut.cache.get(key, source.reading())).toEqual(source.value), 300)
})

test('without Redis: one load in each process, few at once, and soon back', async () => {
  const proxy = await startFaultProxy({ target: inject('redisUrl') })
  stops.push(() => proxy.stop())
  const { cache } = await replica({ maxLoads: 4 }, proxy.url)
  const source = createSource()
  proxy.hang()
  source.ms = 20
  let [running, most] = [0, 0]
  const count = { ...source.reading() }
  const load = async (signal: AbortSignal) => {
    most = Math.max(most, ++running)
    return count.load(signal).finally(() => running--)
  }
  const asked = Array.from({ length: 100 }, (_, i) => cache.get(`away-${i % 20}`, { ...count, load }))
  for (const value of await Promise.all(asked)) expect(value).toEqual(source.value)
  expect(source.loads).toBe(20)
  expect(most).toBe(4)
  expect(cache.degraded()).toBeDefined()
  // Invalidations made while Redis is down reach the other replicas once it is back.
  const other = await replica()
  const key = newKey()
  await other.cache.get(key, source.reading())
  source.value = { version: 2, cents: 200 }
  await cache.invalidate(key, 2)
  await proxy.heal()
  await vi.waitFor(async () => expect(await other.cache.get(key, source.reading())).toEqual(source.value), 4000)
  await vi.waitFor(() => expect(cache.degraded()).toBeUndefined(), 4000)
})

test('more invalidations than it remembers while Redis is down: everything is invalidated, and logged', async () => {
  const proxy = await startFaultProxy({ target: inject('redisUrl') })
  stops.push(() => proxy.stop())
  const warn = vi.spyOn(log, 'warn')
  const [{ cache }, other] = [await replica({ maxPending: 3 }, proxy.url), await replica()]
  const source = createSource()
  const keys = Array.from({ length: 10 }, newKey)
  for (const key of keys) await other.cache.get(key, source.reading())
  proxy.hang()
  source.value = { version: 2, cents: 200 }
  await Promise.all(keys.map((key) => cache.invalidate(key, 2)))
  expect(warn.mock.calls.filter(([text]) => String(text).startsWith('too many invalidations'))).toHaveLength(1)
  warn.mockRestore()
  await proxy.heal()
  for (const key of keys) {
    await vi.waitFor(async () => expect(await other.cache.get(key, source.reading())).toEqual(source.value), 6000)
  }
  // One that is not in any first tier either: the entry itself is gone.
  const late = await replica()
  for (const key of keys) expect(await late.cache.get(key, source.reading())).toEqual(source.value)
})

test('versions that went back, as after a failover that lost commits: the source is right, and not for one reader alone', async () => {
  const replicas = await three()
  const [key, source] = [newKey(), createSource()]
  const reading = source.reading({ freshMs: 200, staleMs: 60_000 })
  source.value = { version: 5, cents: 500 }
  for (const { cache } of replicas) await cache.get(key, reading)
  source.value = { version: 3, cents: 300 }
  const everybody = () => Promise.all(replicas.map(({ cache }) => cache.get(key, reading)))
  await vi.waitFor(async () => expect(await everybody()).toEqual([source.value, source.value, source.value]), 3000)
  const late = await replica()
  expect(await late.cache.get(key, reading)).toEqual(source.value)
  source.value = { version: 4, cents: 400 }
  await (replicas[0] as Replica).cache.invalidate(key, 4)
  await vi.waitFor(async () => expect(await everybody()).toEqual([source.value, source.value, source.value]), 1000)
})
