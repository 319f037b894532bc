import { AppError, hasCode } from '../errors/app-error.ts'
import { kitErrors } from '../errors/errors.ts'
import type { Logger } from '../log/log.ts'
import type { Scope } from '../scope.ts'

export interface NewJob {
  /** `<type>-<uuid>`: a second job of the same id is not added while the first is known. */
  id: string
  type: string
  payload: unknown
  /** The request that caused it: every log line of the job carries it. */
  requestId?: string
  /** The trace that it goes on with. */
  traceparent?: string
}

export interface JobQueue {
  scope: Scope
  add(job: NewJob): Promise<void>
  stop(): Promise<void>
}

export interface Job {
  id: string
  type: string
  payload: unknown
  requestId: string | undefined
  /** For what the handler calls and tells. */
  traceparent: string | undefined
  /** 1 for the first try. */
  attempt: number
  /** Fires when the worker stops and cannot wait for longer. */
  signal: AbortSignal
  log: Logger
}

/** Runs at least once: a handler must make its effect idempotent. A throw is tried again later, with backoff. */
export type JobHandler = (job: Job) => Promise<void>

/** Throw it for a failure that no further try can cure: the job goes to the dead letters at once. */
export class PermanentFailure extends Error {
  override readonly name = 'PermanentFailure'
}

/** Longest that a job waits for a worker of the version that knows it: longer than any roll-out, and then somebody must look. */
export const rollOutMs = 3_600_000

/**
 * How long a job has to wait when its handler threw `E_PEER_UNAVAILABLE` or `E_JOB_TOO_NEW`: nothing was tried, so it is no
 * attempt. Else `undefined`. Up to half as long again at random, so that not all of them come at once.
 */
export function postponedBy(error: unknown, ageMs: number, tooNewMs = rollOutMs): number | undefined {
  if (!(error instanceof AppError)) return undefined
  const isTooNew = hasCode(error, 'E_JOB_TOO_NEW') && ageMs < tooNewMs
  if (!isTooNew && !hasCode(error, 'E_PEER_UNAVAILABLE')) return undefined
  return Math.ceil((error.retryAfterMs ?? 1000) * (1 + Math.random() / 2))
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

/** For an operator: what failed for good stays until it is replayed, dropped, or a week old. */
export interface DeadLetters {
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
