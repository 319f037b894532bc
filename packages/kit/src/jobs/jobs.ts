import { AppError, hasCode } from '../errors/app-error.ts'
import { kitErrors } from '../errors/errors.ts'
import { PermanentFailure } from '../errors/permanent-failure.ts'
import type { Logger } from '../log/log.ts'
import { sqlState } from '../postgres/postgres.ts'
import type { Scope } from '../scope.ts'

export { PermanentFailure } from '../errors/permanent-failure.ts'

export interface NewJob {
  /** `<type>-<uuid>`. A second job with the same id is not added while the queue remembers the first. */
  id: string
  type: string
  payload: unknown
  /** What the job is about, an order's id for example: dead letters can be looked up by it. */
  aggregate?: string
  /** The request that caused it: every log line of the job carries it. */
  requestId?: string
  /** W3C trace context that the job continues. */
  traceparent?: string
}

export interface JobQueue {
  scope: Scope
  /** Resolves once the job is stored. Throws `E_REDIS_UNAVAILABLE`, after which it may have been added: add it again with the same id. */
  add(job: NewJob): Promise<void>
  /** Adds jobs that may run in any order, in one round trip. If it throws, each of them may or may not have been added. */
  addAll(jobs: NewJob[]): Promise<void>
  /**
   * Returns the ids of jobs that were never added, or were lost with the queue's data. `addedMs`: when each was added, in milliseconds
   * since 1970 (default: now). Jobs that are old enough to have finished and been deleted are left out.
   */
  missing(jobs: (Pick<NewJob, 'id' | 'type'> & { addedMs?: number })[]): Promise<string[]>
  stop(): Promise<void>
}

export interface Job {
  id: string
  type: string
  payload: unknown
  requestId: string | undefined
  /** W3C trace context: the parent of the handler's outgoing calls and messages. */
  traceparent: string | undefined
  /** 1 for the first run. Postponed runs count here, but use up no attempt. */
  attempt: number
  /** Whether no earlier run can have had an effect: none failed, was interrupted, or died with its worker. */
  isFirstTry: boolean
  /** Fires when the worker stops and can wait no longer. The job then runs again elsewhere. */
  signal: AbortSignal
  log: Logger
}

/** Runs a job, at least once: its effect must be idempotent. If it throws, the job runs again later, with backoff, until its attempts are used up. */
export type JobHandler = (job: Job) => Promise<void>

/** How long a job waits for a worker new enough to run it. Longer than any rollout; after that an operator must look. */
export const rollOutMs = 3_600_000

/** How long failures of Postgres and Redis use up no attempt of a job. After that they do: the job itself may be the cause. */
export const outageMs = 24 * 3_600_000
const maxOutageWaitMs = 15_000

/** What a job has waited for so far without using up an attempt. Times are milliseconds of the queue's clock. */
export interface Waits {
  /** Runs that ended with an outage of Postgres or Redis, or because their worker stopped: they may have had an effect. */
  interruptions: number
  interruptedAt?: number
  tooNewAt?: number
}

export interface WaitLimits {
  tooNewMs?: number
  outageMs?: number
}

/**
 * Returns how long a job waits after a failure that uses up no attempt, with what must be remembered about that; `undefined` for
 * any other failure. An attempt is not used up if a breaker holds the peer back, if the job is too new for this worker, or if Postgres
 * or Redis is unreachable. Waits are up to half as long again, at random, so that not all jobs come back at once.
 */
export function postpone(error: unknown, waits: Waits, now: number, limits: WaitLimits = {}) {
  if (!(error instanceof AppError)) return undefined
  const baseMs = error.retryAfterMs ?? 1000
  const spread = (ms: number) => Math.ceil(ms * (1 + Math.random() / 2))
  if (hasCode(error, 'E_PEER_UNAVAILABLE')) return { ms: spread(baseMs), waits }
  if (hasCode(error, 'E_JOB_TOO_NEW')) {
    const tooNewAt = waits.tooNewAt ?? now
    return now - tooNewAt < (limits.tooNewMs ?? rollOutMs)
      ? { ms: spread(baseMs), waits: { ...waits, tooNewAt } }
      : undefined
  }
  if (!isOutage(error)) return undefined
  const interruptedAt = waits.interruptedAt ?? now
  if (now - interruptedAt >= (limits.outageMs ?? outageMs)) return undefined
  const ms = Math.min(baseMs * 2 ** Math.min(waits.interruptions, 10), maxOutageWaitMs)
  return { ms: spread(ms), waits: { ...waits, interruptions: waits.interruptions + 1, interruptedAt } }
}

// Cancelled for its length, or after waiting for a lock: that can be this job's own doing.
const ownDoing = /^(57014|55P03)$/

/** Returns whether Postgres or Redis is unreachable, rather than busy with what this job asked. */
function isOutage(error: AppError): boolean {
  if (hasCode(error, 'E_REDIS_UNAVAILABLE')) return true
  return hasCode(error, 'E_POSTGRES_UNAVAILABLE') && !ownDoing.test(sqlState(error.cause) ?? '')
}

/** Returns whether no further attempt by this worker can help. */
export function isPermanent(error: unknown): boolean {
  return error instanceof PermanentFailure || hasCode(error, 'E_JOB_TOO_NEW')
}

/** Returns the error for a job whose type this version does not know; a worker of a newer version may. */
export function unknownType({ type }: Pick<Job, 'type'>): AppError {
  return kitErrors.E_JOB_TOO_NEW({ detail: `no handler for jobs of the type ${type}`, retryAfterMs: 1000 })
}

/** How many jobs were in each state at the last look. */
export interface JobCounts {
  waiting: number
  active: number
  /** Failed jobs that wait for their next attempt, and the next runs of schedules. */
  delayed: number
  /** Dead letters. */
  failed: number
}

export interface JobConsumer {
  /** Takes no new job, waits `deadlineMs` for the running ones, then aborts them; another worker takes them over. */
  stop(deadlineMs: number): Promise<void>
}

/** A job that failed for good: its attempts are used up, or its failure was permanent. */
export interface DeadLetter {
  id: string
  type: string
  payload: unknown
  requestId: string | undefined
  attempts: number
  /** The message of the last failure. */
  reason: string
  failedAt: Date
}

/** Returns which aggregates have a dead letter, so that code that repeats lost work leaves those to an operator. */
export interface DeadAggregates {
  /** Returns those of `aggregates` whose latest dead letter of that type has been neither replayed nor dropped. */
  among(type: string, aggregates: string[]): Promise<Set<string>>
}

/** For an operator: what failed for good stays until it is replayed or dropped, however many and however old. */
export interface DeadLetters extends DeadAggregates {
  /** Returns a page of them, the latest first. */
  list(options?: { offset?: number; limit?: number }): Promise<DeadLetter[]>
  find(id: string): Promise<DeadLetter | undefined>
  /** Queues it again with all of its attempts. Returns `false` if there is no such dead letter. */
  replay(id: string): Promise<boolean>
  /** Deletes it, so that the same id can be added again. Returns `false` if there is no such dead letter. */
  drop(id: string): Promise<boolean>
}

/** A job that a cluster runs once per tick, whatever the number of workers. */
export interface Schedule {
  id: string
  /** The job type that each tick adds. */
  type: string
  /** A period, or a cron pattern in UTC. A failed tick of a pattern is retried by itself; that of a period is not, since the next tick follows soon. */
  every: { ms: number } | { cron: string }
}
