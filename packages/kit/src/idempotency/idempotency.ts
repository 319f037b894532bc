import type { Sql } from '../postgres/postgres.ts'
import type { Scope } from '../scope.ts'

export interface IdempotentRequest {
  /** Whose key it is: another owner's same key is another request. */
  owner: string
  key: string
  /** Of method, path and body; see `fingerprint()`. */
  fingerprint: string
}

export interface StoredResponse {
  status: number
  body: unknown
}

/** An effect that is one statement: parts of a `WITH`, to which the key and the stored response are added. */
export interface EffectStatement {
  /** As a `Statement`'s: one name, one text. */
  name: string
  /**
   * `taken AS (UPDATE …), placed AS (INSERT …)`. Whatever changes something does so only
   * `WHERE EXISTS (SELECT FROM unclaimed)`: that has no row when the key has been used, or is in use.
   */
  changes: string
  /** A SELECT of `status`, `body` (json) and whatever else the caller wants to know; without a row, the effect was refused. */
  response: string
  /** $1, $2, … of both. */
  values: unknown[]
}

/** The effects of several requests as one statement. */
export interface BatchEffect {
  name: string
  /**
   * As an `EffectStatement`'s, but `unclaimed` has one row, with its `seq`, for each request whose key is free: the first
   * request is 1. Whatever changes something does so for these alone.
   */
  changes: string
  /** A SELECT of `seq`, `status`, `body` and more; a request without a row was refused. */
  response: string
  /** $1, $2, … of both; often one array for each column of the requests. */
  values: unknown[]
}

/** `row`: what the response's SELECT had; a replay has none. */
export type StatementOutcome<Row> =
  | { response: StoredResponse; replayed: false; row: Row }
  | { response: StoredResponse; replayed: true }

export interface Idempotency {
  scope: Scope
  /**
   * Runs `effect` once per owner and key; its response, and what it wrote through `tx`, commit together with the key.
   * A rejected `effect` leaves nothing behind: the key is free again.
   * Throws `E_IDEMPOTENCY_IN_PROGRESS` at once while another copy runs, `E_IDEMPOTENCY_MISMATCH` for another fingerprint.
   */
  run(
    request: IdempotentRequest,
    effect: (tx: Sql) => Promise<StoredResponse>,
  ): Promise<{ response: StoredResponse; replayed: boolean }>
  /**
   * As `run`, in one round trip and without a transaction of this process's: a row that every request needs is locked while Postgres
   * works, and not while a replica or the network takes its time. `undefined`: refused; the key is free.
   */
  runStatement<Row>(request: IdempotentRequest, effect: EffectStatement): Promise<StatementOutcome<Row> | undefined>
  /** Deletes an owner's keys and stored responses in this transaction: the owner is deleted, too. */
  forget(tx: Sql, owner: string): Promise<void>
  /**
   * As `runStatement`, for several requests in one statement, no two with the same owner and key. Each has an outcome of its own, in the
   * order of the requests: one whose key is in use, or was used for something else, holds up no other. When the statement
   * itself fails, nothing has happened for any of them. An adapter may not have it: then each request is run alone.
   */
  runBatch?<Row>(
    requests: IdempotentRequest[],
    effect: BatchEffect,
  ): Promise<PromiseSettledResult<StatementOutcome<Row> | undefined>[]>
}
