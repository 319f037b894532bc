import { randomUUID } from 'node:crypto'
import { type FaultProxy, startFaultProxy } from '@escala/testing/fault-proxy'
import type { Redis } from 'ioredis'
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest'
import { createLog } from '../log/log.ts'
import { createRedis, stopRedis } from '../redis/redis.ts'
import { createLocks, type LeaseStore } from './lease.ts'
import { describeLocks, type LocksUnderTest } from './locks.contract.ts'
import type { Lease, Locks } from './locks.ts'
import { createMemoryLeases } from './memory.ts'
import { createRedisLocks } from './redis.ts'

const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
const prefix = `test-${randomUUID()}:`

function createMemory(): LocksUnderTest {
  const store = createMemoryLeases()
  const tokens = new Map<string, string>()
  const spied: LeaseStore = {
    ...store,
    take(name, token, leaseMs) {
      return store.take(name, token, leaseMs).then((fence) => {
        if (fence !== undefined) tokens.set(name, token)
        return fence
      })
    },
  }
  const locks = createLocks(spied, { log })
  return { one: locks, two: locks, expire: (name) => store.give(name, tokens.get(name) ?? '') }
}
const memory = createMemory()
describeLocks('memory', () => memory)

let redis: Redis[]
let proxy: FaultProxy
let far: Locks
let near: Locks
beforeAll(async () => {
  proxy = await startFaultProxy({ target: inject('redisUrl') })
  redis = [proxy.url, inject('redisUrl')].map((url) => createRedis({ url, role: 'request', log }))
  await vi.waitFor(() => expect(redis.map(({ status }) => status)).toEqual(['ready', 'ready']))
  const [one, two] = redis as [Redis, Redis]
  far = createRedisLocks({ redis: one, prefix, log })
  near = createRedisLocks({ redis: two, prefix, log })
})
afterAll(async () => {
  const keys = (await redis[1]?.keys(`${prefix}*`)) ?? []
  if (keys.length > 0) await redis[1]?.del(...keys)
  await Promise.all(redis.map(stopRedis))
  await proxy.stop()
})
const reachable = () => vi.waitFor(() => expect(redis[0]?.status).toBe('ready'), 5000)

describeLocks('redis', () => ({
  one: far,
  two: near,
  expire: async (name) => void (await redis[1]?.del(`${prefix}{${name}}`)),
}))

let sequence = 0n
describeLocks('redis, with fences from elsewhere', () => ({
  one: createRedisLocks({ redis: redis[0] as Redis, prefix, log, nextFence: async () => ++sequence }),
  two: createRedisLocks({ redis: redis[1] as Redis, prefix, log, nextFence: async () => ++sequence }),
  expire: async (name) => void (await redis[1]?.del(`${prefix}{${name}}`)),
}))

test('redis: a holder that cannot renew stops before the lock is free for others', async () => {
  const lease = (await far.acquire('cut-off', { leaseMs: 500 })) as Lease
  const order: string[] = []
  lease.signal.addEventListener('abort', () => order.push('stopped'))
  proxy.hang()
  const successor = await near.acquire('cut-off', { leaseMs: 500, waitMs: 10_000 })
  order.push('taken')
  expect(order).toEqual(['stopped', 'taken'])
  expect(successor?.fence).toBeGreaterThan(lease.fence)
  await successor?.release()
  await proxy.heal()
  await reachable()
})

test('redis: while the state of the lock is unknown, no caller gets it', async () => {
  proxy.hang()
  await expect(far.acquire('closed', { leaseMs: 500, waitMs: 5000 })).rejects.toMatchObject({
    code: 'E_REDIS_UNAVAILABLE',
  })
  await proxy.heal()
  await reachable()
})

test('redis: a lost answer costs at most one lease', async () => {
  proxy.dropNextReply()
  await expect(far.acquire('lost', { leaseMs: 400 })).rejects.toMatchObject({ code: 'E_REDIS_UNAVAILABLE' })
  const lease = await near.acquire('lost', { leaseMs: 400, waitMs: 1000 })
  expect(lease).toBeDefined()
  await lease?.release()
  await reachable()
})

test('redis: fences grow also after it lost its data', async () => {
  const before = (await near.acquire('amnesia', { leaseMs: 500 })) as Lease
  await before.release()
  await redis[1]?.del(`${prefix}{amnesia}:fence`)
  const after = (await near.acquire('amnesia', { leaseMs: 500 })) as Lease
  expect(after.fence).toBeGreaterThan(before.fence)
  await after.release()
})

test('redis: fences grow also when the next Redis has lost its data and its clock is behind', async () => {
  const two = redis[1] as Redis
  const locks = createRedisLocks({ redis: two, prefix, log })
  const ahead = BigInt(Date.now() + 3_600_000) * 1000n
  await two.set(`${prefix}{behind}:fence`, String(ahead)) // as the clock of the last server made it
  const before = (await locks.acquire('behind', { leaseMs: 500 })) as Lease
  expect(before.fence).toBe(ahead + 1n)
  await before.release()
  await two.del(`${prefix}{behind}:fence`)
  const after = (await locks.acquire('behind', { leaseMs: 500 })) as Lease
  expect(after.fence).toBeGreaterThan(before.fence)
  await after.release()
})

test('redis: a holder that was overtaken while it drew its fence does not get the lock', async () => {
  const two = redis[1] as Redis
  const nextFence = async () => {
    await two.del(`${prefix}{overtaken}`)
    return 1n
  }
  const slow = createRedisLocks({ redis: two, prefix, log, nextFence })
  expect(await slow.acquire('overtaken', { leaseMs: 500 })).toBeUndefined()
})
