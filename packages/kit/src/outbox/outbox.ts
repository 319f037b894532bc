import type { Sql } from '../postgres/postgres.ts'

export interface OutboxMessage {
  /** The job type that it becomes. */
  type: string
  /** Messages of one aggregate (an order's id, say) are published in the order of their commits. */
  aggregate: string
  payload: unknown
  requestId?: string
}

export interface Outbox {
  /** Writes the message in the transaction of what it tells of: both commit, or neither. Answers with the message's id. */
  add(tx: Sql, message: OutboxMessage): Promise<string>
}

/** What a relay hands to the queue. At least once: after a crash the same `id` comes again. */
export interface RelayedMessage extends OutboxMessage {
  id: string
}

export interface Relay {
  start(): void
  stop(): Promise<void>
}
