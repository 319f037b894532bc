import { setTimeout as wait } from 'node:timers/promises'
import { type Job as BullJob, DelayedError, UnrecoverableError, WaitingError, Worker } from 'bullmq'
import type { Redis } from 'ioredis'
import type { Logger } from '../log/log.ts'
import { withRequestId } from '../log/request-id.ts'
import { longestBlockMs } from '../redis/redis.ts'
import { carriedTracing, type Tracing } from '../tracing/tracing.ts'
import {
  isPermanent,
  type JobConsumer,
  type JobCounts,
  type JobHandler,
  type JobQueue,
  postponedBy,
  unknownType,
} from './jobs.ts'
import { connectQueue, type JobData, type QueueConnectionOptions, type QueueName, queueName } from './queue.ts'

export interface BullmqQueue extends JobQueue {
  counts(): Promise<JobCounts>
  /** How long ago the oldest job was added that nobody has taken yet; 0: there is none. */
  oldestMs(): Promise<number>
}

/** Adding throws `E_REDIS_UNAVAILABLE` when the job may not have been added: add it again under the same id. */
export function createBullmqQueue(options: QueueConnectionOptions): BullmqQueue {
  const connection = connectQueue(options)
  return {
    scope: 'cluster',
    async add({ id, type, payload, requestId, traceparent }) {
      await connection.use((queue) => queue.add(type, { payload, requestId, traceparent }, { jobId: id }))
    },
    async counts() {
      const counts = await connection.use((queue) => queue.getJobCounts())
      return { waiting: 0, active: 0, delayed: 0, failed: 0, ...counts }
    },
    async oldestMs() {
      const [oldest] = await connection.use((queue) => queue.getJobs('waiting', 0, 0, true))
      return oldest ? Math.max(0, Date.now() - oldest.timestamp) : 0
    },
    stop: () => connection.close(),
  }
}

export interface BullmqConsumerOptions extends QueueName {
  /** Of the role `blocking`. */
  redis: Redis
  log: Logger
  /** Job type → handler. */
  handlers: Record<string, JobHandler>
  concurrency?: number
  /** How long a job stays with a worker that died; renewed at half of it. */
  lockMs?: number
  /** How often it is looked for such jobs. */
  stalledMs?: number
  /** How many workers may die over one job before it is taken for the culprit. BullMQ's own default is 1: two deploys gone wrong. */
  maxStalled?: number
  /** How long a job that is too new for this worker is left for another one. */
  tooNewMs?: number
  /** Default: what the job carries is handed on. */
  tracing?: Tracing
}

// After the deadline, for handlers that heed their signal to end.
const graceMs = 1000
// After a lost connection. BullMQ's own default leaves the queue alone for 15 seconds after Redis is back.
const retryMs = 500
const blockSeconds = longestBlockMs / 1000

/** BullMQ waits up to ten seconds for a delayed job: longer than a connection may be silent. */
class ImpatientWorker extends Worker<JobData, void> {
  override get maximumBlockTimeout(): number {
    return blockSeconds
  }
}

/** Consumes every type of one queue. A type without a handler is left for another version's worker. */
export function createBullmqConsumer(options: BullmqConsumerOptions): JobConsumer {
  const { redis, log, concurrency = 10, lockMs = 30_000, stalledMs = 30_000, maxStalled = 5, tooNewMs } = options
  const { tracing = carriedTracing } = options
  const { name, prefix } = queueName(options)
  const handlers = new Map(Object.entries(options.handlers))
  const deadline = new AbortController()
  const running = new Set<Promise<void>>()
  let stopping = false

  const run = async (job: BullJob<JobData, void>, traceparent: string | undefined, jobLog: Logger): Promise<void> => {
    const handler = handlers.get(job.name)
    if (!handler) throw unknownType({ type: job.name })
    await handler({
      id: job.id as string,
      type: job.name,
      payload: job.data.payload,
      requestId: job.data.requestId,
      traceparent,
      attempt: job.attemptsStarted,
      signal: deadline.signal,
      log: jobLog,
    })
  }

  /** Another worker takes it at once, and the attempt does not count. */
  const giveBack = async (job: BullJob<JobData, void>, token: string | undefined) => {
    await job.moveToWait(token)
    throw new WaitingError()
  }

  const worker = new ImpatientWorker(
    name,
    async (job, token) => {
      if (stopping) return giveBack(job, token) // it was on its way when the worker stopped taking jobs
      const { requestId, traceparent } = job.data
      const jobLog = log.child({
        queue: name,
        jobId: job.id,
        jobType: job.name,
        attempt: job.attemptsStarted,
        requestId,
      })
      const startedAt = performance.now()
      const attributes = {
        'escala.request.id': requestId,
        'escala.job.id': job.id,
        'escala.job.attempt': job.attemptsStarted,
      }
      const work = withRequestId(log, requestId, () =>
        tracing.span({ name: job.name, kind: 'consumer', traceparent, attributes }, (span) =>
          run(job, span.traceparent, jobLog),
        ),
      )
      const settled = work.catch(() => undefined).finally(() => running.delete(settled))
      running.add(settled)
      try {
        await work
        jobLog.info({ ms: Math.round(performance.now() - startedAt) }, 'job done')
      } catch (err) {
        if (deadline.signal.aborted) return giveBack(job, token)
        const waitMs = postponedBy(err, Date.now() - job.timestamp, tooNewMs)
        if (waitMs !== undefined) {
          jobLog.debug({ err, ms: waitMs }, 'job postponed')
          await job.moveToDelayed(Date.now() + waitMs, token)
          throw new DelayedError()
        }
        const permanent = isPermanent(err)
        const isLast = permanent || job.attemptsMade + 1 >= (job.opts.attempts ?? 1)
        const dead = isLast && job.opts.removeOnFail !== true // a tick whose successor does the same is no dead letter
        jobLog[dead ? 'error' : 'warn']({ err }, dead ? 'job failed for good' : 'job failed')
        throw permanent && err instanceof Error ? new UnrecoverableError(err.message) : err
      }
    },
    {
      connection: redis,
      prefix,
      concurrency,
      lockDuration: lockMs,
      stalledInterval: stalledMs,
      maxStalledCount: maxStalled,
      runRetryDelay: retryMs,
      drainDelay: blockSeconds,
    },
  )
  worker.on('error', (err) => {
    if (!stopping) log[redis.status === 'ready' ? 'warn' : 'debug']({ err, queue: name }, 'job worker failed')
  })
  worker.on('stalled', (jobId) => log.warn({ queue: name, jobId }, 'job taken over from a worker that is gone'))

  return {
    async stop(deadlineMs) {
      stopping = true
      await worker.pause(true)
      if (!(await within(Promise.all(running), deadlineMs))) {
        log.warn({ queue: name, jobs: running.size }, 'jobs did not end in time')
        deadline.abort()
        await within(Promise.all(running), graceMs)
      }
      // Jobs that run on lose their lock with this process, and are taken over when it has run out.
      await within(worker.close(running.size > 0), graceMs)
    },
  }
}

async function within(work: Promise<unknown>, ms: number): Promise<boolean> {
  const timer = new AbortController()
  const late = wait(ms, false, { signal: timer.signal }).catch(() => false)
  return Promise.race([work.then(() => true), late]).finally(() => timer.abort())
}
