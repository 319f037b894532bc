import type { Sql } from '../postgres/postgres.ts'
import type { Scope } from '../scope.ts'

export interface OutboxMessage {
  /** The type of the job that it becomes: lower-case letters, digits, dots, dashes and underscores. */
  type: string
  /**
   * Messages of one aggregate (for example an order's id) are published one after the other, in the order in which they were added.
   * This is the order of their commits if each transaction changes, and so locks, the aggregate's row before it adds a message.
   */
  aggregate: string
  /** A JSON value; `add` throws for any other. A number beyond 2^53 that SQL writes loses digits when it is read: write it as text. */
  payload: unknown
  /** The request that caused it, for the job's log lines. */
  requestId?: string
  /** W3C trace context that the job continues. */
  traceparent?: string
}

export interface Outbox {
  scope: Scope
  /** Writes the message in the transaction of the change that it describes: both commit, or neither. Returns the message's id. Throws as `tx` does. */
  add(tx: Sql, message: OutboxMessage): Promise<string>
  /**
   * Returns SQL that does the same as a part of one statement, where `select` yields type, aggregate, payload (json), request id and traceparent:
   * `WITH placed AS (INSERT INTO orders … RETURNING id), message AS (${outbox.insert("SELECT 'order.charge', id, '{}'::json, $3, $4 FROM placed")}) …`
   */
  insert(select: string): string
}

/** The queue that a relay publishes to: a `JobQueue`, or anything that drops the second of two jobs with one id. */
export interface MessageQueue {
  add(job: MessageJob): Promise<void>
  /** Adds them in any order, in one round trip. If it throws, each of them may or may not have been added. */
  addAll(jobs: MessageJob[]): Promise<void>
  /** Returns the ids of jobs that it does not know: never added, or lost with its data. `addedMs`: see `JobQueue`. */
  missing(jobs: (Pick<MessageJob, 'id' | 'type'> & { addedMs?: number })[]): Promise<string[]>
}

/** A message as a job, delivered at least once. Its id, `<type>-<id of the message>`, is the same when it is delivered again after a crash. */
export interface MessageJob extends Omit<OutboxMessage, 'aggregate'> {
  id: string
  aggregate?: string
}

/** Publishes committed messages to the queue. Retries for as long as Postgres or the queue is unreachable. */
export interface Relay {
  start(): void
  /** Stops publishing; resolves after the current batch. */
  stop(): Promise<void>
  /** Returns how many messages are not published yet, and the age of the oldest in milliseconds (0 if there is none). */
  lag(): Promise<{ waiting: number; oldestMs: number }>
}
