import type { Sql } from '../postgres/postgres.ts'
import type { Scope } from '../scope.ts'

export interface OutboxMessage {
  /** The job type that it becomes: lower-case letters, digits, dots, dashes, underscores. */
  type: string
  /**
   * Messages of one aggregate (for example an order's id) are published one after the other, in the order in which they were added.
   * That is the order of their commits where each transaction changes (so locks) the aggregate's row before it adds.
   */
  aggregate: string
  /** JSON. What cannot be written as JSON is refused by `add`; a number beyond 2^53 that SQL has written loses digits: write it as text. */
  payload: unknown
  requestId?: string
  /** The trace that goes on with the job. */
  traceparent?: string
}

export interface Outbox {
  scope: Scope
  /** Writes the message in the transaction of the change that it describes: both commit, or neither. Returns the message's id. */
  add(tx: Sql, message: OutboxMessage): Promise<string>
  /**
   * The same as part of one statement, where `select` yields type, aggregate, payload (json), request id and traceparent:
   * `WITH placed AS (INSERT INTO orders … RETURNING id), message AS (${outbox.insert("SELECT 'order.charge', id, '{}'::json, $3, $4 FROM placed")}) …`
   */
  insert(select: string): string
}

/** Where a relay publishes: a `JobQueue`, or whatever drops the second of two jobs with one id. */
export interface MessageQueue {
  add(job: MessageJob): Promise<void>
  /** In any order, in one round trip. When it throws, each of them may have been added or not. */
  addAll(jobs: MessageJob[]): Promise<void>
  /** The ids of jobs that it does not know: never added, or lost with its data. */
  missing(jobs: (Pick<MessageJob, 'id' | 'type'> & { addedMs?: number })[]): Promise<string[]>
}

/** A message as a job, at least once: its id, `<type>-<id of the message>`, is the same when it comes again after a crash. */
export interface MessageJob extends Omit<OutboxMessage, 'aggregate'> {
  id: string
  aggregate?: string
}

export interface Relay {
  start(): void
  /** Ends after the batch in hand. */
  stop(): Promise<void>
  /** What is not published yet: how many messages, and the age of the oldest. */
  lag(): Promise<{ waiting: number; oldestMs: number }>
}
