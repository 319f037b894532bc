import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { startFaultProxy } from '@escala/testing/fault-proxy'
import { expect, inject, test, vi } from 'vitest'
import { kitErrors } from '../errors/errors.ts'
import { createLog } from '../log/log.ts'
import { createConnections } from '../postgres/connections.ts'
import { createRedis, stopRedis } from '../redis/redis.ts'
import { createBullmqConsumer, createBullmqQueue } from './bullmq.ts'
import { createBullmqDeadLetters } from './dead-letters.ts'
import { describeJobs, newJob } from './jobs.contract.ts'
import { type Job, type JobHandler, PermanentFailure, type WaitLimits } from './jobs.ts'
import { createMemoryJobs } from './memory.ts'
import { jobOptions, keptFinished, laneName, schedulesLane } from './queue.ts'
import { turnEvery } from './retry-turns.ts'

const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })

/** A queue of its own, whose clients reach Redis at `url`. */
async function createBullmq(url = inject('redisUrl')) {
  const prefix = `{test-${randomUUID()}}`
  const redis = createRedis({ url, role: 'request', log, timeoutMs: 1000 })
  const admin = createRedis({ url: inject('redisUrl'), role: 'request', log, timeoutMs: 1000 })
  const connections = [redis, admin]
  await vi.waitFor(() => expect(admin.status).toBe('ready'))
  const lanes = { slow: 'peer' }
  const queue = createBullmqQueue({ redis, prefix, lanes, attempts: 3, backoffMs: 5 })
  const deadLetters = createBullmqDeadLetters({ redis: admin, prefix, lanes })
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
        .sort()
    },
    prefix,
    consume(handlers: Record<string, JobHandler>, concurrency?: number, limits?: WaitLimits) {
      const blocking = createRedis({ url, role: 'blocking', log })
      connections.push(blocking)
      const timing = { lockMs: 300, stalledMs: 100 }
      return createBullmqConsumer({ redis: blocking, log, prefix, handlers, concurrency, limits, lanes, ...timing })
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

test('bullmq: a job that another version of the code has put into another lane is not missing', async () => {
  const jobs = await createBullmq()
  await vi.waitFor(() => expect(jobs.redis.status).toBe('ready'))
  const { redis, prefix } = jobs
  const older = createBullmqQueue({ redis, prefix, lanes: {} })
  const [job, lost] = [newJob('slow'), newJob('slow')]
  await older.add(job)
  expect(await jobs.queue.missing([job, lost])).toEqual([lost.id])
  await older.stop()
  await jobs.stop()
})

test('bullmq: what a full lane may have forgotten is not missing, and what it cannot have forgotten is', async () => {
  const jobs = await createBullmq()
  await vi.waitFor(() => expect(jobs.redis.status).toBe('ready'))
  const now = Date.now()
  const finished = Array.from({ length: keptFinished }, (_, n) => [now - n, `quick-${n}`]).flat()
  await jobs.redis.zadd(`${jobs.prefix}:jobs:completed`, ...finished)
  const old = { ...newJob('quick'), addedMs: now - 60_000 }
  const elsewhere = { ...newJob('slow'), addedMs: now - 60_000 }
  const fresh = { ...newJob('quick'), addedMs: now + 60_000 }
  expect(await jobs.queue.missing([old, elsewhere, fresh])).toEqual([elsewhere.id, fresh.id])
  await jobs.redis.zremrangebyrank(`${jobs.prefix}:jobs:completed`, 0, 0)
  expect(await jobs.queue.missing([old])).toEqual([old.id])
  await jobs.stop()
})

test('bullmq: jobs of one lane wait for no job of another', async () => {
  const jobs = await createBullmq()
  await vi.waitFor(() => expect(jobs.redis.status).toBe('ready'))
  const goOn = Promise.withResolvers<void>()
  const slow = vi.fn(() => goOn.promise)
  const quick = vi.fn(async () => {})
  const consumer = jobs.consume({ slow, quick }, 2)
  for (let n = 0; n < 20; n++) await jobs.queue.add(newJob('slow'))
  await vi.waitFor(() => expect(slow).toHaveBeenCalledTimes(2))
  await jobs.queue.add(newJob('quick'))
  await vi.waitFor(() => expect(quick).toHaveBeenCalledOnce())
  expect(await jobs.queue.counts()).toMatchObject({ waiting: 18, active: 2 })
  goOn.resolve()
  await vi.waitFor(() => expect(slow).toHaveBeenCalledTimes(20))
  await consumer.stop(1000)
  await jobs.stop()
})

test('bullmq: jobs that failed come after jobs that were not tried, except in one turn of every six', async () => {
  const jobs = await createBullmq()
  await vi.waitFor(() => expect(jobs.redis.status).toBe('ready'))
  const tries: string[] = []
  const gate = Promise.withResolvers<void>()
  const consumer = jobs.consume(
    {
      async bad({ attempt }) {
        tries.push(`bad ${attempt}`)
        if (attempt === 1) throw new Error('no')
      },
      async good() {
        tries.push('good')
        await gate.promise
      },
    },
    1,
  )
  for (let n = 0; n < 20; n++) await jobs.queue.add(newJob('bad'))
  for (let n = 0; n < 50; n++) await jobs.queue.add(newJob('good'))
  await vi.waitFor(() => expect(tries).toContain('good'))
  await wait(50) // all are due again
  gate.resolve()
  await vi.waitFor(() => expect(tries).toHaveLength(90), 5000)
  const whileGoodOnesWait = tries.slice(tries.indexOf('good'), tries.lastIndexOf('good'))
  const turns = whileGoodOnesWait.filter((name) => name === 'bad 2').length
  expect(turns).toBeGreaterThan(3)
  expect(turns).toBeLessThanOrEqual(50 / turnEvery)
  await consumer.stop(1000)
  await jobs.stop()
})

test('bullmq: a job that failed once is tried again although new ones never cease to come', async () => {
  const jobs = await createBullmq()
  await vi.waitFor(() => expect(jobs.redis.status).toBe('ready'))
  let good = 0
  const goodBefore: number[] = []
  const shaky = async ({ attempt }: Job) => {
    goodBefore.push(good)
    if (attempt < 3) throw new Error('not yet')
  }
  const addGood = () => jobs.queue.add(newJob('good'))
  const consumer = jobs.consume(
    {
      shaky,
      async good() {
        good++
        await Promise.all([addGood(), ...(good < 10 ? [addGood()] : [])])
      },
    },
    2,
  )
  await jobs.queue.add(newJob('shaky'))
  await addGood()
  await vi.waitFor(() => expect(goodBefore).toHaveLength(3), 5000)
  const [first = 0, second = 0, third = 0] = goodBefore
  // Its wait of 5 or 10 ms, its turn, and what runs or is on its way at that moment.
  expect(Math.max(second - first, third - second)).toBeLessThan(100)
  expect((await jobs.queue.counts()).waiting).toBeGreaterThan(0)
  await consumer.stop(1000)
  await jobs.stop()
})

test('bullmq: failed jobs that are slow leave a fifth of the places to first tries', async () => {
  const jobs = await createBullmq()
  await vi.waitFor(() => expect(jobs.redis.status).toBe('ready'))
  const goOn = Promise.withResolvers<void>()
  let hanging = 0
  const good = vi.fn(async () => {})
  const consumer = jobs.consume(
    {
      async bad({ isFirstTry }) {
        if (isFirstTry) throw new Error('no')
        hanging++
        await goOn.promise
      },
      good,
    },
    5,
  )
  for (let n = 0; n < 20; n++) await jobs.queue.add(newJob('bad'))
  await vi.waitFor(() => expect(hanging).toBe(4), 5000)
  await wait(100) // the others are due as well
  expect(hanging).toBe(4)
  for (let n = 0; n < 10; n++) await jobs.queue.add(newJob('good'))
  await vi.waitFor(() => expect(good).toHaveBeenCalledTimes(10), 5000)
  expect(hanging).toBe(4)
  expect(await jobs.queue.counts()).toMatchObject({ failed: 0 })
  goOn.resolve()
  await consumer.stop(1000)
  await jobs.stop()
})

test('bullmq: where all jobs have failed before, they are worked through without a pause', async () => {
  const jobs = await createBullmq()
  await vi.waitFor(() => expect(jobs.redis.status).toBe('ready'))
  let done = 0
  const shaky = async ({ isFirstTry }: Job) => {
    if (isFirstTry) throw new Error('no')
    await wait(10)
    done++
  }
  const consumer = jobs.consume({ shaky }, 5)
  for (let n = 0; n < 100; n++) await jobs.queue.add(newJob('shaky'))
  await vi.waitFor(() => expect(done).toBe(100), 4000) // less than what a job is put off for
  await consumer.stop(1000)
  await jobs.stop()
})

test('bullmq: takes no job and no tick while its process has no place, and goes on when it has one', async () => {
  const jobs = await createBullmq()
  await vi.waitFor(() => expect(jobs.redis.status).toBe('ready'))
  const place = createConnections({ log })
  const run = vi.fn(async () => {})
  const blocking = createRedis({ url: inject('redisUrl'), role: 'blocking', log })
  const { prefix, redis } = jobs
  const consumer = createBullmqConsumer({ redis: blocking, log, prefix, handlers: { run, tick: run }, place })
  const name = laneName({}, schedulesLane)
  const ticks = createBullmqQueue({ redis, prefix, name, lanes: {} })
  const add = async () => {
    await jobs.queue.add(newJob('run'))
    await ticks.add(newJob('tick'))
  }
  await add()
  await vi.waitFor(() => expect(run).toHaveBeenCalledTimes(2), 3000)
  place.allowFor(0)
  await add()
  await wait(300)
  expect(run).toHaveBeenCalledTimes(2)
  expect(await jobs.queue.counts()).toMatchObject({ waiting: 2, active: 0, delayed: 0 })
  place.allowFor(60_000)
  await vi.waitFor(() => expect(run).toHaveBeenCalledTimes(4), 3000)
  await consumer.stop(1000)
  await ticks.stop()
  await stopRedis(blocking)
  await jobs.stop()
})

test('bullmq: a dead letter is deleted by no count and no age, and an operator sees those of every lane', async () => {
  const jobs = await createBullmq()
  await vi.waitFor(() => expect(jobs.redis.status).toBe('ready'))
  const fail = async () => {
    throw new PermanentFailure('no')
  }
  const consumer = jobs.consume({ slow: fail, quick: fail }, 1)
  const added = Array.from({ length: 30 }, (_, n) => newJob(n % 2 ? 'slow' : 'quick'))
  for (const job of added) await jobs.queue.add(job)
  const all = () => jobs.deadLetters.list({ limit: 100 })
  await vi.waitFor(async () => expect(await all()).toHaveLength(30), 5000)
  const pages = await Promise.all([0, 10, 20].map((offset) => jobs.deadLetters.list({ offset, limit: 10 })))
  expect(pages.flat()).toEqual(await all())
  const times = pages.flat().map(({ failedAt }) => failedAt.getTime())
  expect(times).toEqual(times.toSorted((a, b) => b - a))
  expect(jobOptions({}).removeOnFail).toBe(false) // BullMQ's name for: keep all
  await jobs.deadLetters.drop(added[0]?.id as string)
  expect(await jobs.queue.missing(added)).toEqual([]) // what an operator dropped is not lost
  await consumer.stop(1000)
  await jobs.stop()
})

test('bullmq: a job over which too many workers died is a dead letter like any other, and a replay forgives them', async () => {
  const jobs = await createBullmq()
  await vi.waitFor(() => expect(jobs.redis.status).toBe('ready'))
  const job = { ...newJob('charge'), aggregate: 'a' }
  await jobs.queue.add(job)
  const setTakeovers = (count: number) => jobs.redis.hset(`${jobs.prefix}:jobs:${job.id}`, 'stc', count)
  await setTakeovers(6)
  const run = vi.fn(async () => {})
  const consumer = jobs.consume({ charge: run })
  await vi.waitFor(async () => expect(await jobs.deadLetters.among('charge', ['a'])).toEqual(new Set(['a'])), 5000)
  expect(run).not.toHaveBeenCalled()
  await jobs.deadLetters.replay(job.id)
  await vi.waitFor(() => expect(run).toHaveBeenCalledOnce())
  await consumer.stop(1000)
  await jobs.stop()
})

test('bullmq: jobs that compute for longer than their lock are taken over once, and are no dead letters', async () => {
  const jobs = await createBullmq()
  await vi.waitFor(() => expect(jobs.redis.status).toBe('ready'))
  const fixture = fileURLToPath(new URL('./busy-worker.ts', import.meta.url))
  const workers = [1, 2].map(() =>
    spawn(process.execPath, [fixture, inject('redisUrl'), jobs.prefix], { stdio: 'pipe' }),
  )
  let output = ''
  for (const { stdout } of workers) stdout?.on('data', (chunk) => (output += chunk))
  const count = (what: RegExp) => output.match(what)?.length ?? 0
  const job = newJob('compute')
  await jobs.queue.add(job)
  try {
    await vi.waitFor(() => expect(count(/"job was done already/g)).toBe(1), 15_000)
    await vi.waitFor(async () =>
      expect(await jobs.queue.counts()).toEqual({ waiting: 0, active: 0, delayed: 0, failed: 0 }),
    )
    expect(count(/"computed"/g)).toBeLessThanOrEqual(2)
    // The loop that stood still, and the job that did it.
    expect(output).toMatch(
      new RegExp(`"jobs":\\[\\{"jobId":"${job.id}","jobType":"compute"\\}\\],"msg":"the event loop was blocked"`),
    )
  } finally {
    const ended = workers.map((worker) => once(worker, 'exit'))
    for (const worker of workers) worker.kill('SIGKILL')
    await Promise.all(ended)
    await jobs.stop()
  }
})

test('bullmq: a job that failed while Redis lost its data is missing, and can be added again', async () => {
  const jobs = await createBullmq()
  await vi.waitFor(() => expect(jobs.redis.status).toBe('ready'))
  const gates = { bad: Promise.withResolvers<void>(), good: Promise.withResolvers<void>() }
  const ran: string[] = []
  const run = async ({ type }: Job) => {
    ran.push(type)
    if (ran.length <= 2) await gates[type as 'bad' | 'good'].promise
  }
  const bad = async (job: Job) => {
    await run(job)
    if (ran.length === 2) throw new Error('no')
  }
  const consumer = jobs.consume({ bad, good: run })
  const added = [newJob('bad'), newJob('good')]
  for (const job of added) await jobs.queue.add(job)
  await vi.waitFor(() => expect(ran).toHaveLength(2), 3000)
  await jobs.redis.del(...(await jobs.redis.keys(`${jobs.prefix}*`)))
  for (const { resolve } of Object.values(gates)) resolve()
  await wait(200) // for what their ends leave in Redis
  expect(await jobs.queue.missing(added)).toEqual(added.map(({ id }) => id))
  for (const job of added) await jobs.queue.add(job)
  await vi.waitFor(() => expect(ran.slice(2).sort()).toEqual(['bad', 'good']), 5000)
  await consumer.stop(1000)
  await jobs.stop()
})

test.each([
  ['data', 'not json'],
  ['data', 'null'],
  ['data', '[1]'],
  ['opts', '{'],
])(
  'bullmq: a job whose %s in Redis cannot be read (%s) is a dead letter, and holds up no other',
  async (field, text) => {
    const jobs = await createBullmq()
    await vi.waitFor(() => expect(jobs.redis.status).toBe('ready'))
    const job = newJob('bad')
    await jobs.queue.add(job)
    await jobs.redis.hset(`${jobs.prefix}:jobs:${job.id}`, field, text)
    const good = vi.fn(async () => {})
    const bad = vi.fn(async () => {
      throw new Error('no')
    })
    const consumer = jobs.consume({ good, bad }, 1)
    await jobs.queue.add(newJob('good'))
    await vi.waitFor(() => expect(good).toHaveBeenCalledOnce(), 5000)
    await vi.waitFor(async () => expect(await jobs.deadLetters.list()).toMatchObject([{ id: job.id }]), 5000)
    if (field === 'data') {
      expect(bad).not.toHaveBeenCalled()
      expect(await jobs.deadLetters.find(job.id)).toMatchObject({ reason: expect.stringContaining('cannot be read') })
    }
    expect(await jobs.deadLetters.drop(job.id)).toBe(true)
    await consumer.stop(1000)
    await jobs.stop()
  },
)

test.each(['not json', 'null'])('bullmq: a dead letter that cannot be read (%s) hides no other', async (text) => {
  const jobs = await createBullmq()
  await vi.waitFor(() => expect(jobs.redis.status).toBe('ready'))
  const run = vi.fn(async () => {
    throw new PermanentFailure('no')
  })
  const consumer = jobs.consume({ bad: run })
  const added = [newJob('bad'), newJob('bad')]
  for (const job of added) await jobs.queue.add(job)
  const list = async () => (await jobs.deadLetters.list()).map(({ id }) => id).sort()
  const ids = added.map(({ id }) => id).sort()
  await vi.waitFor(async () => expect(await list()).toEqual(ids), 5000)
  const [first = '', second = ''] = ids
  await jobs.redis.hset(`${jobs.prefix}:jobs:${first}`, 'data', text)
  expect(await list()).toEqual(ids)
  expect(await jobs.deadLetters.find(first)).toMatchObject({ type: 'bad' })
  expect(await jobs.deadLetters.replay(first)).toBe(true)
  await vi.waitFor(async () => expect((await jobs.deadLetters.find(first))?.reason).toContain('cannot be read'), 5000)
  expect(run).toHaveBeenCalledTimes(2)
  expect([await jobs.deadLetters.drop(first), await jobs.deadLetters.drop(second)]).toEqual([true, true])
  await consumer.stop(1000)
  await jobs.stop()
})

test('bullmq: of replays at once one counts, and the others find nothing', async () => {
  const jobs = await createBullmq()
  await vi.waitFor(() => expect(jobs.redis.status).toBe('ready'))
  const run = vi.fn(async ({ isFirstTry }: Job) => {
    if (isFirstTry) throw new PermanentFailure('no')
  })
  const consumer = jobs.consume({ bad: run })
  const job = newJob('bad')
  await jobs.queue.add(job)
  await vi.waitFor(async () => expect(await jobs.deadLetters.find(job.id)).toBeDefined(), 5000)
  const replayed = await Promise.all([1, 2, 3].map(() => jobs.deadLetters.replay(job.id)))
  expect(replayed.sort()).toEqual([false, false, true])
  await vi.waitFor(() => expect(run).toHaveBeenCalledTimes(2), 5000)
  await consumer.stop(1000)
  await jobs.stop()
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
  await vi.waitFor(async () => expect(await jobs.waitingConnections()).toHaveLength(3)) // one for each lane
  const waiting = await jobs.waitingConnections()
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

test('bullmq: while Redis is down, adding fails in time; afterwards everything goes on by itself', async () => {
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
