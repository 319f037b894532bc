import { type Job, Worker } from 'bullmq'
import type { Redis } from 'ioredis'
import type { Logger } from '../log/log.ts'
import type { Connections } from '../postgres/connections.ts'
import { longestBlockMs } from '../redis/redis.ts'
import { carriedTracing, type Tracing } from '../tracing/tracing.ts'
import { maxClockOffsetMs, maxTakingOffsetMs, watchClock } from './clock-offset.ts'
import type { JobConsumer, JobCounts, JobHandler, JobQueue, NewJob, WaitLimits } from './jobs.ts'
import { watchLoop } from './loop.ts'
import { createOneRun } from './one-run.ts'
import {
  allLanes,
  connectLanes,
  droppedKey,
  inTime,
  type JobData,
  keptFinished,
  type LaneNames,
  laneName,
  laneOf,
  type QueueConnectionOptions,
  queueName,
  schedulesLane,
} from './queue.ts'
import { makeReadable } from './repair-unreadable.ts'
import { createTurns } from './retry-turns.ts'
import { createRunner, within } from './runner.ts'

export interface BullmqQueue extends JobQueue {
  counts(): Promise<JobCounts>
  /** How long ago the oldest job that is still waiting was added; 0: there is none. */
  oldestMs(): Promise<number>
}

/** Adding throws `E_REDIS_UNAVAILABLE` when the job may not have been added: add it again under the same id. */
export function createBullmqQueue(options: QueueConnectionOptions & LaneNames): BullmqQueue {
  const { redis } = options
  const { prefix } = queueName(options)
  const lanes = connectLanes(options)

  /** When the oldest finished job that a full lane still knows was finished: for older ones it is unknown whether they were lost. */
  const oldestKept = async (name: string) => {
    const finished = `${prefix}:${name}:completed`
    const [count, [, oldest]] = await Promise.all([
      redis.zcard(finished),
      redis.zrange(finished, '0', '0', 'WITHSCORES'),
    ])
    return count >= keptFinished ? Number(oldest) : 0
  }

  return {
    scope: 'cluster',
    async add(job) {
      const { name, data, opts } = toBullmq(job)
      await lanes.of(job.type).use((queue) => queue.add(name, data, opts))
    },
    async addAll(jobs) {
      const byLane = Map.groupBy(jobs, ({ type }) => lanes.of(type))
      await Promise.all([...byLane].map(([lane, jobs]) => lane.use((queue) => queue.addBulk(jobs.map(toBullmq)))))
    },
    async missing(jobs) {
      // In any lane: another version of the code may have put the type into another one.
      const isKnown = async ({ id }: (typeof jobs)[0]) => {
        const keys = lanes.names.flatMap((name) => [`${prefix}:${name}:${id}`, droppedKey({ prefix, name }, id)])
        return (await redis.exists(...keys)) > 0
      }
      return inTime(async () => {
        const [horizons, known] = await Promise.all([
          Promise.all(lanes.names.map(async (name) => [name, await oldestKept(name)] as const)),
          Promise.all(jobs.map(isKnown)),
        ])
        const horizonOf = new Map(horizons)
        const mayBeForgotten = ({ type, addedMs = Date.now() }: (typeof jobs)[0]) =>
          addedMs < (horizonOf.get(laneOf(options, type)) ?? 0) + maxClockOffsetMs
        return jobs.filter((job, at) => !known[at] && !mayBeForgotten(job)).map(({ id }) => id)
      })
    },
    async counts() {
      const total: JobCounts = { waiting: 0, active: 0, delayed: 0, failed: 0 }
      for (const name of lanes.names) {
        const counts = await lanes.lane(name).use((queue) => queue.getJobCounts())
        for (const state of Object.keys(total) as (keyof JobCounts)[]) total[state] += counts[state] ?? 0
        total.waiting += counts.prioritized ?? 0 // they have failed before, and their next try is due
      }
      return total
    },
    async oldestMs() {
      const ages = lanes.names.map(async (name) => {
        const oldest = await lanes.lane(name).use((queue) => queue.getJobs(['waiting', 'prioritized'], 0, 0, true))
        return Math.max(0, ...oldest.map(({ timestamp }) => Date.now() - timestamp))
      })
      return Math.max(0, ...(await Promise.all(ages)))
    },
    stop: () => lanes.close(),
  }
}

const toBullmq = ({ id, type, payload, aggregate, requestId, traceparent }: NewJob) => ({
  name: type,
  data: { payload, aggregate, requestId, traceparent },
  opts: { jobId: id },
})

export interface BullmqConsumerOptions extends LaneNames {
  /** A connection of the role `blocking`. */
  redis: Redis
  log: Logger
  /** Job type → handler. */
  handlers: Record<string, JobHandler>
  /** Jobs at a time, in each lane. */
  concurrency?: number
  /** How long a job stays with a worker that died; renewed at half of it. */
  lockMs?: number
  /** Interval between checks for jobs of dead workers. */
  stalledMs?: number
  /** How many workers may die over one job before it is taken for the culprit. BullMQ's own default is 1: two deploys gone wrong. */
  maxStalled?: number
  /** How long jobs may wait without using an attempt. */
  limits?: WaitLimits
  /** Interval between comparisons of this process's clock with Redis'. */
  clockMs?: number
  /** How late the event loop may be before it is logged with the jobs that ran. */
  lateMs?: number
  /** Default: what the job carries is handed on. */
  tracing?: Tracing
  /** Takes no jobs while this process may not use the database: each would fail. Default: it always may. */
  place?: Pick<Connections, 'allowed' | 'onAllowed'>
}

// After the deadline, for handlers that heed their signal to end.
const graceMs = 1000
/** Longest time of a consumer's `stop` beyond its deadline. */
export const consumerStopMs = 2 * graceMs
// After a lost connection. BullMQ's own default leaves the queue alone for 15 seconds after Redis is back.
const retryMs = 500
const blockSeconds = longestBlockMs / 1000

/** BullMQ waits up to ten seconds for a delayed job: longer than a connection may be silent. */
class ImpatientWorker extends Worker<JobData, void> {
  override get maximumBlockTimeout(): number {
    return blockSeconds
  }

  /** BullMQ's own `resume` lets its rejection go unhandled, which would end the process. */
  override async run(): Promise<void> {
    await super.run().catch((err) => this.emit('error', err))
  }
}

/** Consumes every type in every lane. A type without a handler is left for another version's worker. */
export function createBullmqConsumer(options: BullmqConsumerOptions): JobConsumer {
  const { redis, log, concurrency = 10, lockMs = 30_000, stalledMs = 30_000, place } = options
  const { tracing = carriedTracing, maxStalled = 5, limits = {}, clockMs = 5000, lateMs = 1000 } = options
  const { prefix } = queueName(options)
  const hasPlace = () => place?.allowed() ?? true
  const runner = createRunner({ ...options, tracing, limits, maxStalled, lockMs, hasPlace })
  const ticks = laneName(options, schedulesLane)
  const oneRun = createOneRun({ redis, prefix, log })
  let stopping = false
  let clockOffsetMs = Number.POSITIVE_INFINITY // until it was compared

  const make = (name: string): Worker<JobData, void> => {
    const run = (job: Job<JobData, void>, token?: string) => {
      if (!hasPlace()) steer() // a paused process learns here, before its timers have fired, that it has none
      const one = () => runner.run(name, job, token, turns)
      return name === ticks ? oneRun(job, one) : one()
    }
    const worker = new ImpatientWorker(name, run, {
      connection: redis,
      prefix,
      concurrency,
      lockDuration: lockMs,
      stalledInterval: stalledMs,
      // The runner counts takeovers: BullMQ's own count fails a job without a word to the index of dead letters.
      maxStalledCount: Number.MAX_SAFE_INTEGER,
      runRetryDelay: retryMs,
      drainDelay: blockSeconds,
      autorun: false,
    })
    const onError = (err: unknown) => {
      if (!stopping) log[redis.status === 'ready' ? 'warn' : 'debug']({ err, queue: name }, 'job worker failed')
    }
    worker.on('error', onError)
    worker.on('stalled', (jobId) => {
      log.warn({ queue: name, jobId }, 'job taken over from a worker that is gone')
      makeReadable(redis, `${prefix}:${name}:${jobId}`).catch(onError)
    })
    const turns = createTurns({ redis, worker, concurrency, onError })
    return worker
  }
  const workers = new Map(allLanes(options).map((name) => [name, make(name)]))

  /** Resumes or pauses each lane. The worker that runs a tick, or fails it, also plans the next one, by its own clock. */
  const steer = () => {
    if (stopping) return
    for (const [name, worker] of workers) {
      const goes = hasPlace() && clockOffsetMs <= (name === ticks ? maxClockOffsetMs : maxTakingOffsetMs)
      const steered = goes ? worker.resume() : worker.pause(true)
      steered.catch((err) => worker.emit('error', err))
    }
  }
  const stopHearing = place?.onAllowed((allowed) => {
    if (allowed) log.info('taking jobs again')
    else log.warn('taking no jobs: this process has no place among those that may use the database')
    steer()
  })
  const clock = watchClock({
    redis,
    everyMs: clockMs,
    onChange(offsetMs) {
      clockOffsetMs = Math.abs(offsetMs)
      if (clockOffsetMs > maxTakingOffsetMs)
        log.error({ offsetMs }, 'the clock of this worker is wrong: it takes no jobs')
      else if (clockOffsetMs > maxClockOffsetMs)
        log.error({ offsetMs }, 'the clock of this worker is wrong: it runs no schedules')
      steer()
    },
  })
  const loop = watchLoop({
    lateMs,
    onLate: (ms) => log.warn({ ms, jobs: runner.running(ms) }, 'the event loop was blocked'),
  })
  steer()

  return {
    async stop(deadlineMs) {
      stopping = true
      stopHearing?.()
      clock.stop()
      loop.stop()
      runner.stopTaking()
      const each = (work: (worker: Worker<JobData, void>) => Promise<unknown>) =>
        Promise.all([...workers.values()].map(work))
      await each((worker) => worker.pause(true))
      if (!(await runner.settled(deadlineMs))) {
        log.warn({ jobs: runner.running() }, 'jobs did not stop in time')
        runner.abort()
        await runner.settled(graceMs)
      }
      // Jobs that run on lose their lock with this process, and are taken over when it has run out.
      await within(
        each((worker) => worker.close(runner.running().length > 0)),
        graceMs,
      )
    },
  }
}
