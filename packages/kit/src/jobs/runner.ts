import { setTimeout as wait } from 'node:timers/promises'
import { type Job as BullJob, DelayedError, UnrecoverableError, WaitingError } from 'bullmq'
import type { Redis } from 'ioredis'
import { hasCode } from '../errors/app-error.ts'
import type { Logger } from '../log/log.ts'
import { withRequestId } from '../log/request-id.ts'
import { createScript } from '../redis/script.ts'
import type { Tracing } from '../tracing/tracing.ts'
import { serverMs } from './clock-offset.ts'
import { isPermanent, type JobHandler, PermanentFailure, postpone, unknownType, type WaitLimits } from './jobs.ts'
import { deadIndex, isJobData, type JobData, type QueueName, queueName, unreadable } from './queue.ts'
import { noTurnMs, type Turns } from './retry-turns.ts'

type Bull = BullJob<JobData, void>

export interface RunningJob {
  jobId: string
  jobType: string
}

const maxNamed = 20
// BullMQ takes jobs without a priority first, then those of the smallest.
const afterFirstTries = 1
// For a job lost with Redis's data, a bare HSET would create a fragment: it would count as known, and not be published again.
const setPriority = createScript(`if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('HSET', KEYS[1], 'priority', ARGV[1])
end`)

export interface RunnerOptions extends QueueName {
  redis: Redis
  log: Logger
  handlers: Record<string, JobHandler>
  lockMs: number
  maxStalled: number
  limits: WaitLimits
  tracing: Tracing
  /** While there is none, jobs that arrive are given back. */
  hasPlace(): boolean
}

/** What happens to one job that a worker has taken, whatever its lane: it is run, given back, postponed, or buried. */
export function createRunner(options: RunnerOptions) {
  const { redis, log, lockMs, maxStalled, limits, tracing, hasPlace } = options
  const handlers = new Map(Object.entries(options.handlers))
  const { prefix } = queueName(options)
  const index = deadIndex(options)
  const deadline = new AbortController()
  const running = new Map<Promise<void>, RunningJob>()
  const ended: (RunningJob & { endedAt: number })[] = [] // the last few: a job that blocked the loop has ended when that is noticed
  let stopping = false
  const isTaking = () => !stopping && hasPlace()

  const handle = async (job: Bull, traceparent: string | undefined, jobLog: Logger): Promise<void> => {
    const { id, name: type, data, attemptsStarted: attempt } = job
    const takeovers = job.stalledCounter - (data.forgiven ?? 0)
    if (takeovers > maxStalled) throw new PermanentFailure(`${takeovers} workers died or stood still over this job`)
    if (data.unreadable) throw new PermanentFailure('what the queue has of this job cannot be read')
    const handler = handlers.get(type)
    if (!handler) throw unknownType({ type })
    const isFirstTry = job.attemptsMade === 0 && takeovers === 0 && !data.waits?.interruptions
    const { payload, requestId } = data
    const { signal } = deadline
    await handler({ id: id as string, type, payload, requestId, traceparent, attempt, isFirstTry, signal, log: jobLog })
  }

  /** Another worker takes it at once, and the attempt does not count. */
  const giveBack = async (job: Bull, token: string | undefined) => {
    await job.moveToWait(token)
    throw new WaitingError()
  }

  const onFailure = async (queue: string, job: Bull, token: string | undefined, err: unknown, jobLog: Logger) => {
    const waits = job.data.waits ?? { interruptions: 0 }
    if (deadline.signal.aborted) {
      await job.updateData({ ...job.data, waits: { ...waits, interruptions: waits.interruptions + 1 } })
      return giveBack(job, token)
    }
    // A tick whose successor does the same is not kept: those of a whole outage would all come back after it.
    const isTick = job.opts.removeOnFail === true
    const isLeft = isTick && !hasCode(err, 'E_JOB_TOO_NEW')
    const postponed = isLeft ? undefined : postpone(err, waits, await serverMs(redis), limits)
    if (postponed !== undefined) {
      jobLog.debug({ err, ms: postponed.ms }, 'job postponed')
      if (postponed.waits !== waits) await job.updateData({ ...job.data, waits: postponed.waits })
      await job.moveToDelayed(Date.now() + postponed.ms, token)
      throw new DelayedError()
    }
    const permanent = isPermanent(err)
    const isLast = permanent || job.attemptsMade + 1 >= (job.opts.attempts ?? 1)
    const dead = isLast && !isTick
    if (dead && job.data.aggregate !== undefined) {
      const entry = JSON.stringify([queue, job.id])
      await redis.hset(index.key, index.field(job.name, job.data.aggregate), entry)
    }
    // It comes back behind the jobs that have not failed yet, and gets its turn among them (turns.ts). BullMQ's own command would search the whole queue for a job that is active.
    if (!isLast) await setPriority.run(redis, [`${prefix}:${queue}:${job.id}`], [afterFirstTries])
    jobLog[dead ? 'error' : 'warn']({ err }, dead ? 'job failed for good' : 'job failed')
    throw permanent && err instanceof Error ? new UnrecoverableError(err.message) : err
  }

  const run = async (queue: string, job: Bull, token: string | undefined, turns: Turns): Promise<void> => {
    if (!isTaking()) return giveBack(job, token) // it was on its way when the worker stopped taking jobs
    const endTurn = await turns.taken(job.attemptsMade === 0)
    if (!endTurn) {
      await job.moveToDelayed(Date.now() + noTurnMs * (1 + Math.random() / 2), token)
      throw new DelayedError()
    }
    if (!isTaking()) return giveBack(job, token).finally(endTurn)
    return runTaken(queue, job, token).finally(endTurn)
  }

  const runTaken = async (queue: string, job: Bull, token: string | undefined): Promise<void> => {
    if (!isJobData(job.data)) await job.updateData(unreadable(job.data))
    const { requestId, traceparent, done } = job.data
    const { id: jobId, name: jobType, attemptsStarted: attempt } = job
    const jobLog = log.child({ queue, jobId, jobType, attempt, requestId })
    if (done) return jobLog.warn('job was done already, by a worker that had lost its lock')
    const startedAt = performance.now()
    const attributes = { 'escala.request.id': requestId, 'escala.job.id': jobId, 'escala.job.attempt': attempt }
    const work = withRequestId(log, requestId, () =>
      tracing.span({ name: jobType, kind: 'consumer', traceparent, attributes }, (span) =>
        handle(job, span.traceparent, jobLog),
      ),
    )
    const named = { jobId: jobId as string, jobType }
    const settled = work
      .catch(() => undefined)
      .finally(() => {
        running.delete(settled)
        ended.push({ ...named, endedAt: performance.now() })
        if (ended.length > maxNamed) ended.shift()
      })
    running.set(settled, named)
    try {
      await work
      const ms = performance.now() - startedAt
      // Long enough that its lock may have run out while the event loop was blocked: the worker that took it over must not run it again.
      if (ms > lockMs / 2) await job.updateData({ ...job.data, done: true }).catch(() => undefined)
      jobLog.info({ ms: Math.round(ms) }, 'job done')
    } catch (err) {
      await onFailure(queue, job, token, err, jobLog)
    }
  }

  return {
    run,
    /** The jobs that run, or that ended within the last `sinceMs`; at most 20 of them, for the log. */
    running(sinceMs = 0): RunningJob[] {
      const since = performance.now() - sinceMs
      const recent = ended.filter(({ endedAt }) => sinceMs > 0 && endedAt >= since)
      const jobs = [...recent.map(({ endedAt: _, ...job }) => job), ...running.values()]
      return jobs.slice(0, maxNamed)
    },
    stopTaking() {
      stopping = true
    },
    /** Fires the signal of every handler. */
    abort: () => deadline.abort(),
    /** Whether all running jobs have ended within that time. */
    settled: (ms: number) => within(Promise.all(running.keys()), ms),
  }
}

/** Whether `work` has ended within that time. */
export async function within(work: Promise<unknown>, ms: number): Promise<boolean> {
  const timer = new AbortController()
  const late = wait(ms, false, { signal: timer.signal }).catch(() => false)
  return Promise.race([work.then(() => true), late]).finally(() => timer.abort())
}
