import { AppError, hasCode } from '../errors/app-error.ts'
import { kitErrors } from '../errors/errors.ts'
import { PermanentFailure } from '../errors/permanent-failure.ts'
import type { Logger } from '../log/log.ts'
import { sqlState } from '../postgres/postgres.ts'
import type { Scope } from '../scope.ts'

export { PermanentFailure } from '../errors/permanent-failure.ts'

export interface NewJob {
  /** `<type>-<uuid>`: a second job of the same id is not added while the first is known. */
  id: string
  type: string
  payload: unknown
  /** What the job is about, an order's id for example: dead letters can be looked up by it. */
  aggregate?: string
  /** The request that caused it: every log line of the job carries it. */
  requestId?: string
  /** The trace that it goes on with. */
  traceparent?: string
}

export interface JobQueue {
  scope: Scope
  add(job: NewJob): Promise<void>
  /** Adds jobs that may run in any order, in one round trip. When it throws, each of them may have been added or not. */
  addAll(jobs: NewJob[]): Promise<void>
  /**
   * Returns the ids of jobs that were never added or lost with the queue's data. `addedMs`: when each was added, by which those are
   * left out that may have finished so long ago that the queue has forgotten them. Default: just now.
   */
  missing(jobs: (Pick<NewJob, 'id' | 'type'> & { addedMs?: number })[]): Promise<string[]>
  stop(): Promise<void>
}

export interface Job {
  id: string
  type: string
  payload: unknown
  requestId: string | undefined
  /** Parent of the handler's outgoing calls and messages. */
  traceparent: string | undefined
  /** 1 for the first run. Runs that were postponed count here, but not as attempts. */
  attempt: number
  /** Whether no earlier run can have had an effect: none has failed, was interrupted, or died with its worker. */
  isFirstTry: boolean
  /** Fires when the worker stops and cannot wait for longer. */
  signal: AbortSignal
  log: Logger
}

/** Runs at least once: a handler must make its effect idempotent. A throw is tried again later, with backoff. */
export type JobHandler = (job: Job) => Promise<void>

/** How long a job waits for a worker new enough to run it. Longer than any rollout; after that an operator must look. */
export const rollOutMs = 3_600_000

/** How long failures of Postgres and Redis use no attempt of a job. After that they count: the job itself may be the cause. */
export const outageMs = 24 * 3_600_000
const maxOutageWaitMs = 15_000

/** What a job has waited for so far without using an attempt. Times are of one clock, the queue's. */
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
 * Returns how long a job has to wait when its failure is no attempt, with what must be remembered about that, or `undefined`
 * when it is one. No attempt: the peer is held back by a breaker, the job is too new for this worker, or the kit's own servers
 * are unreachable. Up to half as long again at random, so that not all jobs come back at once.
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

/** Whether one of the kit's own servers is unreachable, rather than busy with what this job asked. */
function isOutage(error: AppError): boolean {
  if (hasCode(error, 'E_REDIS_UNAVAILABLE')) return true
  return hasCode(error, 'E_POSTGRES_UNAVAILABLE') && !ownDoing.test(sqlState(error.cause) ?? '')
}

/** Whether no further try of this worker's can help. */
export function isPermanent(error: unknown): boolean {
  return error instanceof PermanentFailure || hasCode(error, 'E_JOB_TOO_NEW')
}

/** A job of a type that this version does not know: a newer version's worker may. */
export function unknownType({ type }: Pick<Job, 'type'>): AppError {
  return kitErrors.E_JOB_TOO_NEW({ detail: `no handler for jobs of the type ${type}`, retryAfterMs: 1000 })
}

/** How many jobs there are in each state, as last looked at. */
export interface JobCounts {
  waiting: number
  active: number
  /** Failed, and waiting for their next attempt; and the next runs of schedules. */
  delayed: number
  /** Dead letters. */
  failed: number
}

export interface JobConsumer {
  /** Takes no new job, waits for the running ones until the deadline, then aborts them; another worker takes them over. */
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
  /** Latest first. */
  list(options?: { offset?: number; limit?: number }): Promise<DeadLetter[]>
  find(id: string): Promise<DeadLetter | undefined>
  /** Runs it again, with all of its attempts. `false`: there is no such dead letter. */
  replay(id: string): Promise<boolean>
  /** Forgets it: the same id can be added again. */
  drop(id: string): Promise<boolean>
}

/** A job that a cluster runs once per tick, whatever the number of workers. */
export interface Schedule {
  id: string
  /** The job type that each tick adds. */
  type: string
  /** Either a period or a cron pattern (UTC). A tick that fails is tried again by the next one of a period; by itself, of a pattern. */
  every: { ms: number } | { cron: string }
}
