import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { startFaultProxy } from '@escala/testing/fault-proxy.ts'
import { expect, inject, test, vi } from 'vitest'
import { kitErrors } from '../errors/errors.ts'
import { createLog } from '../log/log.ts'
import { createRedis, stopRedis } from '../redis/redis.ts'
import { createBullmqConsumer, createBullmqQueue } from './bullmq.ts'
import { createBullmqDeadLetters } from './dead-letters.ts'
import { describeJobs, newJob } from './jobs.contract.ts'
import type { JobHandler } from './jobs.ts'
import { createMemoryJobs } from './memory.ts'

const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })

/** A queue of its own, whose clients reach Redis at `url`. */
async function createBullmq(url = inject('redisUrl')) {
  const prefix = `{test-${randomUUID()}}`
  const redis = createRedis({ url, role: 'request', log, timeoutMs: 1000 })
  const admin = createRedis({ url: inject('redisUrl'), role: 'request', log, timeoutMs: 1000 })
  const connections = [redis, admin]
  await vi.waitFor(() => expect(admin.status).toBe('ready'))
  const queue = createBullmqQueue({ redis, prefix, attempts: 3, backoffMs: 5 })
  const deadLetters = createBullmqDeadLetters({ redis: admin, prefix })
  return {
    queue,
    deadLetters,
    redis,
    /** Ids of the connections that wait for a job, as the server sees them. */
    async waitingConnections() {
      const clients = ((await admin.client('LIST')) as string).split('\n')
      return clients
        .filter((line) => line.includes(prefix) && line.includes(' cmd=bzpopmin '))
        .map((line) => line.split(' ')[0])
    },
    consume(handlers: Record<string, JobHandler>, concurrency?: number, tooNewMs?: number) {
      const blocking = createRedis({ url, role: 'blocking', log })
      connections.push(blocking)
      const timing = { lockMs: 300, stalledMs: 100 }
      return createBullmqConsumer({ redis: blocking, log, prefix, handlers, concurrency, tooNewMs, ...timing })
    },
    async stop() {
      await queue.stop()
      await deadLetters.stop()
      const keys = await admin.keys(`${prefix}*`)
      if (keys.length > 0) await admin.del(...keys)
      await Promise.all(connections.map(stopRedis))
    },
  }
}

describeJobs('memory', async () => ({
  ...createMemoryJobs({ log, attempts: 3, backoffMs: 5 }),
  stop: async () => {},
}))

describeJobs('bullmq', async () => {
  const jobs = await createBullmq()
  await vi.waitFor(() => expect(jobs.redis.status).toBe('ready'))
  return jobs
})

test('bullmq: a job that ignores its signal is taken over when its lock has run out', async () => {
  const jobs = await createBullmq()
  await vi.waitFor(() => expect(jobs.redis.status).toBe('ready'))
  const begun = Promise.withResolvers<void>()
  const stubborn = jobs.consume({ charge: () => new Promise<void>(() => begun.resolve()) })
  await jobs.queue.add(newJob('charge'))
  await begun.promise
  await stubborn.stop(10)
  const run = vi.fn(async () => {})
  const next = jobs.consume({ charge: run })
  await vi.waitFor(() => expect(run).toHaveBeenCalledTimes(1), 3000)
  expect(run).toHaveBeenCalledWith(expect.objectContaining({ attempt: 2 }))
  await next.stop(1000)
  await jobs.stop()
})

test('bullmq: connections that go silent are noticed: jobs are added and done again within 5 s', async () => {
  const proxy = await startFaultProxy({ target: inject('redisUrl') })
  const jobs = await createBullmq(proxy.url)
  const run = vi.fn(async () => {})
  const postpone = vi.fn(async () => {
    throw kitErrors.E_PEER_UNAVAILABLE({ retryAfterMs: 60_000 })
  })
  const consumer = jobs.consume({ charge: run, postpone })
  const add = () => jobs.queue.add(newJob('charge'))
  await vi.waitFor(add, { timeout: 5000, interval: 50 })
  // With a delayed job, BullMQ waits at the server for longer than its usual while.
  await jobs.queue.add(newJob('postpone'))
  await vi.waitFor(() => expect([run, postpone].map(({ mock }) => mock.calls.length)).toEqual([1, 1]), 5000)
  const waiting = await jobs.waitingConnections()
  expect(waiting).toHaveLength(1)
  await wait(3500)
  expect(await jobs.waitingConnections()).toEqual(waiting) // and is not taken for silent meanwhile

  proxy.silence()
  const startedAt = performance.now()
  await vi.waitFor(add, { timeout: 5000, interval: 50 })
  await vi.waitFor(() => expect(run).toHaveBeenCalledTimes(2), 5000)
  expect(performance.now() - startedAt).toBeLessThan(5000)
  await consumer.stop(1000)
  await jobs.stop()
  await proxy.stop()
})

test('bullmq: while Redis is away adding fails in time; afterwards all goes on by itself', async () => {
  const proxy = await startFaultProxy({ target: inject('redisUrl') })
  await proxy.refuse()
  const jobs = await createBullmq(proxy.url)
  const run = vi.fn(async () => {})
  const consumer = jobs.consume({ charge: run })
  const add = () => jobs.queue.add(newJob('charge'))
  await expect(add()).rejects.toMatchObject({ code: 'E_REDIS_UNAVAILABLE' })
  await proxy.heal()
  await vi.waitFor(add, { timeout: 5000, interval: 50 })
  await vi.waitFor(() => expect(run).toHaveBeenCalledTimes(1), 5000)

  for (const fail of [proxy.hang, proxy.refuse]) {
    const before = run.mock.calls.length
    await fail()
    const startedAt = performance.now()
    await expect(add()).rejects.toMatchObject({ code: 'E_REDIS_UNAVAILABLE' })
    expect(performance.now() - startedAt).toBeLessThan(5000)
    await proxy.heal()
    await vi.waitFor(add, { timeout: 5000, interval: 50 })
    await vi.waitFor(() => expect(run.mock.calls.length).toBeGreaterThan(before), 5000)
  }
  await consumer.stop(1000)
  await jobs.stop()
  await proxy.stop()
})
