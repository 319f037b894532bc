import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest'
import { kitErrors } from '../errors/errors.ts'
import { createLog } from '../log/log.ts'
import { createRedis, stopRedis } from '../redis/redis.ts'
import { createBullmqConsumer, createBullmqQueue } from './bullmq.ts'
import { createBullmqSchedules } from './bullmq-schedules.ts'
import type { JobHandler, Schedule } from './jobs.ts'
import { createMemoryJobs } from './memory.ts'
import { createMemorySchedules } from './memory-schedules.ts'
import { oneRunMs } from './one-run.ts'
import { connectQueue, laneName, schedulesLane } from './queue.ts'
import { describeSchedules } from './schedules.contract.ts'

const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
const url = () => inject('redisUrl')
const redis = { current: undefined as ReturnType<typeof createRedis> | undefined }
const shared = () => redis.current as ReturnType<typeof createRedis>
beforeAll(async () => {
  redis.current = createRedis({ url: url(), role: 'request', log, timeoutMs: 2000 })
  await vi.waitFor(() => expect(shared().status).toBe('ready'))
})
afterAll(() => stopRedis(shared()))

describeSchedules('memory', async () => {
  const { queue, consume } = createMemoryJobs({ log })
  const stops: (() => Promise<void>)[] = []
  return {
    worker: (own) => createMemorySchedules({ own, queue, log }),
    consume(handlers) {
      const consumer = consume(handlers)
      stops.push(() => consumer.stop(0))
    },
    stop: async () => void (await Promise.all(stops.map((stop) => stop()))),
  }
})

/** Workers on one queue of their own; who is alive, and what it declares, is a plain map. */
function createWorkers() {
  const prefix = `{test-${randomUUID()}}`
  const live = new Map<string, Schedule[]>()
  const stops: (() => Promise<void>)[] = []
  const name = laneName({}, schedulesLane)
  const queue = connectQueue({ redis: shared(), prefix, name })
  const declared = async () => [...live.values()].flat().map(({ id }) => id)
  return {
    live,
    prefix,
    queue,
    present: () => queue.use(async (bull) => (await bull.getJobSchedulers()).map(({ key }) => key).sort()),
    counts: () => queue.use((bull) => bull.getJobCounts('failed', 'delayed', 'wait', 'active')),
    next: () => queue.use(async (bull) => (await bull.getJobSchedulers())[0]?.next as number),
    lose: () =>
      shared()
        .keys(`${prefix}*`)
        .then((keys) => shared().del(...keys)),
    worker(own: Schedule[], worker: string = randomUUID(), repairMs = 60_000, known = declared) {
      live.set(worker, own)
      return createBullmqSchedules({ redis: shared(), prefix, name, log, own, declared: known, repairMs })
    },
    consume(handlers: Record<string, JobHandler>) {
      const blocking = createRedis({ url: url(), role: 'blocking', log })
      const consumer = createBullmqConsumer({ redis: blocking, log, prefix, handlers })
      stops.push(() => consumer.stop(0).then(() => stopRedis(blocking)))
    },
    async stop() {
      await Promise.all(stops.map((stop) => stop()))
      await queue.close()
      const keys = await shared().keys(`${prefix}*`)
      if (keys.length > 0) await shared().del(...keys)
    },
  }
}
describeSchedules('bullmq', async () => createWorkers())

const schedule = (id: string, ms = 60_000): Schedule => ({ id, type: id, every: { ms } })

test('three workers that start together and go on putting things right: one run per tick', async () => {
  const workers = createWorkers()
  const ids: string[] = []
  for (let n = 0; n < 3; n++) workers.consume({ tick: async ({ id }) => void ids.push(id) })
  const all = [1, 2, 3].map((n) => workers.worker([schedule('tick', 200)], `worker-${n}`, 50))
  const startedAt = performance.now()
  await Promise.all(all.map((schedules) => schedules.start()))
  await vi.waitFor(() => expect(ids.length).toBeGreaterThanOrEqual(10), 5000)
  expect(performance.now() - startedAt).toBeGreaterThan(9 * 200 - 100)
  expect(new Set(ids).size).toBe(ids.length)
  expect(await workers.present()).toEqual(['tick'])
  await Promise.all(all.map((schedules) => schedules.stop()))
  await workers.stop()
})

test('a run that takes longer than its period meets no other run, on any worker; another schedule goes on', async () => {
  const workers = createWorkers()
  let [underWay, most, others] = [0, 0, 0]
  const spans: number[] = []
  for (let n = 0; n < 3; n++) {
    workers.consume({
      async slow() {
        most = Math.max(most, ++underWay)
        const startedAt = performance.now()
        await wait(spans.length === 0 ? oneRunMs + 1000 : 350) // the first outlives its lease, which is renewed
        spans.push(performance.now() - startedAt)
        underWay--
      },
      other: async () => void others++,
    })
  }
  const schedules = workers.worker([schedule('slow', 100), schedule('other', 100)])
  await schedules.start()
  await vi.waitFor(() => expect(spans.length).toBeGreaterThanOrEqual(4), 15_000)
  expect(most).toBe(1)
  expect(others).toBeGreaterThan(10)
  await schedules.stop()
  await workers.stop()
})

test('the run of a worker that died keeps later ticks away for no longer than its lease', async () => {
  const workers = createWorkers()
  const ids: string[] = []
  const key = `${workers.prefix}:${laneName({}, schedulesLane)}:run:tick`
  await shared().set(key, 'a run whose worker is gone', 'PX', 1000)
  workers.consume({ tick: async ({ id }) => void ids.push(id) })
  const schedules = workers.worker([schedule('tick', 100)])
  await schedules.start()
  await wait(500)
  expect(ids).toEqual([])
  await vi.waitFor(() => expect(ids.length).toBeGreaterThanOrEqual(3), 5000)
  await schedules.stop()
  await workers.stop()
  expect(await shared().exists(key)).toBe(0)
})

test.each([
  ['that fails', () => new Error('no')],
  ['that meets an outage', () => kitErrors.E_POSTGRES_UNAVAILABLE({ retryAfterMs: 20 })],
  ['whose peer is held back', () => kitErrors.E_PEER_UNAVAILABLE({ retryAfterMs: 20 })],
])('a tick of a period %s is left to the next one, however long that lasts', async (_, failure) => {
  const workers = createWorkers()
  const ids: string[] = []
  workers.consume({
    async tick({ id }) {
      ids.push(id)
      throw failure()
    },
  })
  const schedules = workers.worker([schedule('tick', 100)])
  await schedules.start()
  await vi.waitFor(() => expect(ids.length).toBeGreaterThanOrEqual(8), 5000)
  expect(new Set(ids).size).toBe(ids.length)
  const { failed = 0, delayed = 0, wait: waiting = 0, active = 0 } = await workers.counts()
  expect(failed).toBe(0)
  expect(delayed + waiting + active).toBeLessThanOrEqual(2) // the one that runs, and the next one
  await schedules.stop()
  await workers.stop()
})

test('what no live worker declares disappears; what one declares stays, though others do not know it', async () => {
  const workers = createWorkers()
  const old = workers.worker([schedule('both'), schedule('old')], 'old')
  await old.start()
  const next = workers.worker([schedule('both'), schedule('new')], 'next')
  await next.start()
  expect(await workers.present()).toEqual(['both', 'new', 'old'])
  await old.stop()
  // The old version starts once more in the middle of the roll-out: it does not know `new`.
  const again = workers.worker([schedule('both'), schedule('old')], 'old')
  await again.start()
  expect(await workers.present()).toEqual(['both', 'new', 'old'])
  await again.stop()
  workers.live.delete('old')
  const last = workers.worker([schedule('both'), schedule('new')], 'last')
  await last.start()
  expect(await workers.present()).toEqual(['both', 'new'])
  await Promise.all([next.stop(), last.stop()])
  await workers.stop()
})

const yearly = { cron: '0 0 1 1 *' }
test.each<[string, Schedule['every'], Schedule['every']]>([
  ['a shorter period', { ms: 3_600_000 }, { ms: 100 }],
  ['a longer period', { ms: 100 }, { ms: 3_600_000 }],
  ['a pattern', { ms: 100 }, yearly],
  ['a period', yearly, { ms: 100 }],
])('a schedule that has %s in the next version ticks by that, under its new type', async (_, before, after) => {
  const workers = createWorkers()
  const ran: string[] = []
  const handler: JobHandler = async ({ type }) => void ran.push(type)
  workers.consume({ former: handler, latter: handler })
  const old = workers.worker([{ id: 'tick', type: 'former', every: before }], 'old')
  await old.start()
  await old.stop()
  workers.live.delete('old')
  const next = workers.worker([{ id: 'tick', type: 'latter', every: after }], 'next')
  await next.start()
  const isQuick = 'ms' in after && after.ms === 100
  if (isQuick) await vi.waitFor(() => expect(ran.filter((type) => type === 'latter').length).toBeGreaterThan(4), 5000)
  else await wait(600)
  ran.length = 0
  await wait(500)
  expect(ran.filter((type) => type === 'former')).toEqual([])
  if (isQuick) expect(ran.length).toBeGreaterThan(1)
  else expect(ran).toEqual([])
  const planned = (await workers.queue.use((bull) => bull.getJobSchedulers())).map(({ every, pattern }) => ({
    every,
    pattern,
  }))
  expect(planned).toEqual([
    'ms' in after ? { every: after.ms, pattern: undefined } : { every: undefined, pattern: after.cron },
  ])
  await next.stop()
  await workers.stop()
})

test('is restored after Redis lost its data, and is not removed while it is unknown which workers are alive', async () => {
  const workers = createWorkers()
  const schedules = workers.worker([schedule('nightly')], 'one', 50)
  await schedules.start()
  await workers.lose()
  await vi.waitFor(async () => expect(await workers.present()).toEqual(['nightly']))
  await schedules.stop()
  const unsure = workers.worker([], 'unsure', 50, () => Promise.reject(new Error('Postgres is down')))
  workers.live.clear()
  const starting = unsure.start()
  await wait(100)
  await unsure.stop()
  await starting
  expect(await workers.present()).toEqual(['nightly'])
  await workers.stop()
})

test('stands again as soon as there is a connection to a Redis that lost its data', async () => {
  const workers = createWorkers()
  const schedules = workers.worker([schedule('nightly')], 'one', 60_000)
  await schedules.start()
  await workers.lose()
  shared().disconnect(true)
  await vi.waitFor(async () => expect(await workers.present()).toEqual(['nightly']), 5000)
  await schedules.stop()
  await workers.stop()
})

test('a cron pattern is read in UTC', async () => {
  const workers = createWorkers()
  const schedules = workers.worker([{ id: 'nightly', type: 'report', every: { cron: '15 0 * * *' } }])
  await schedules.start()
  expect(new Date(await workers.next()).toISOString()).toMatch(/T00:15:00.000Z$/)
  await schedules.stop()
  await workers.stop()
})

/** Runs `fixture` in a process whose clock is that far ahead. */
function startAhead(fixture: string, aheadMs: number, args: string[]) {
  const path = (name: string) => fileURLToPath(new URL(name, import.meta.url))
  const shift = `${pathToFileURL(path('./shifted-clock.ts'))}?ahead=${aheadMs}`
  const child = spawn(process.execPath, ['--import', shift, path(fixture), ...args], { stdio: 'pipe' })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk))
  return {
    output: () => output,
    async kill() {
      const ended = once(child, 'exit')
      child.kill('SIGKILL')
      await ended
    },
  }
}

test('ticks that a clock an hour ahead has planned are set right, of a period and of a pattern', async () => {
  const workers = createWorkers()
  const everyHour: Schedule = { id: 'hourly', type: 'hourly', every: { cron: '0 * * * *' } }
  const hour = 3_600_000
  await workers.queue.use(async (bull) => {
    // What BullMQ of such a worker writes: the first tick has been taken, the next one is planned.
    await bull.upsertJobScheduler('sweep', { every: 5000, startDate: Date.now() + hour }, { name: 'sweep' })
    await bull.upsertJobScheduler(
      'hourly',
      { pattern: '0 * * * *', startDate: Date.now() + 2 * hour },
      { name: 'hourly' },
    )
  })
  const ticks: string[] = []
  workers.consume({ sweep: async () => void ticks.push('sweep'), hourly: async () => {} })
  await wait(100)
  expect(ticks).toEqual([])
  const schedules = workers.worker([schedule('sweep', 5000), everyHour], 'one', 100)
  await schedules.start()
  await vi.waitFor(() => expect(ticks).toEqual(['sweep']), 5000)
  const next = await workers.queue.use(
    async (bull) => new Map((await bull.getJobSchedulers()).map((s) => [s.key, s.next])),
  )
  expect(next.get('sweep')).toBeLessThan(Date.now() + 10_000)
  expect(next.get('hourly')).toBeLessThanOrEqual(Date.now() + hour)
  await schedules.stop()
  await workers.stop()
})

test.each([
  [3_600_000, 'takes no jobs'],
  [-3_600_000, 'takes no jobs'],
  [20_000, 'runs no schedules'],
])('a worker whose clock is off by %i ms plans nothing, takes no tick, and says that it %s', async (aheadMs, says) => {
  const workers = createWorkers()
  const schedules = workers.worker([schedule('sweep', 60_000)], 'right')
  const ahead = startAhead('./ticking-worker.ts', aheadMs, [url(), workers.prefix])
  try {
    await vi.waitFor(() => expect(ahead.output()).toContain('it plans no schedules'), 10_000)
    await vi.waitFor(() => expect(ahead.output()).toContain(`it ${says}`), 10_000)
    expect(await workers.present()).toEqual([])
    const jobs = createBullmqQueue({ redis: shared(), prefix: workers.prefix })
    await jobs.add({ id: 'work-1', type: 'work', payload: null })
    await jobs.stop()
    await schedules.start()
    await vi.waitFor(async () => expect(await workers.counts()).toMatchObject({ wait: 1 }))
    await wait(300)
    expect(await workers.counts()).toMatchObject({ wait: 1, active: 0 }) // there is nobody else to take it
    const isTaking = says === 'runs no schedules'
    await vi.waitFor(() => expect(ahead.output().includes('"jobType":"work"')).toBe(isTaking), 5000)
    expect(ahead.output()).not.toContain('"jobType":"sweep"')
  } finally {
    await ahead.kill()
  }
  let ticks = 0
  workers.consume({ sweep: async () => void ticks++, work: async () => {} })
  await vi.waitFor(() => expect(ticks).toBe(1))
  await schedules.stop()
  await workers.stop()
})
