import type { Sql } from '../postgres/postgres.ts'
import type { Scope } from '../scope.ts'

export interface IdempotentRequest {
  /** The user or client that the key belongs to. The same key of another owner is another request. */
  owner: string
  key: string
  /** Identifies method, path and body; see `fingerprint()`. */
  fingerprint: string
}

export interface StoredResponse {
  status: number
  body: unknown
}

/** An effect that is one statement: parts of a `WITH`, to which the key and the stored response are added. */
export interface EffectStatement {
  /** Name of the prepared statement: one name must always have the same text. */
  name: string
  /**
   * `taken AS (UPDATE …), placed AS (INSERT …)`. Whatever changes something does so only
   * `WHERE EXISTS (SELECT FROM unclaimed)`: that has no row when the key has been used, or is in use.
   */
  changes: string
  /** A SELECT of `status`, `body` (json) and further columns for the caller. If it returns no row, the effect was refused. */
  response: string
  /** The parameters $1, $2, … of `changes` and `response`. */
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
  /** A SELECT of `seq`, `status`, `body` (json) and further columns. A request without a row was refused. */
  response: string
  /** The parameters $1, $2, … of `changes` and `response`, often one array for each column of the requests. */
  values: unknown[]
}

/** `row`: the row of the response's SELECT; a replay has none. */
export type StatementOutcome<Row> =
  | { response: StoredResponse; replayed: false; row: Row }
  | { response: StoredResponse; replayed: true }

export interface Idempotency {
  scope: Scope
  /**
   * Runs `effect` once per owner and key; its response, and what it wrote through `tx`, commit together with the key.
   * If `effect` rejects, nothing is kept and the key is free again. A key is remembered for a day.
   * Throws `E_IDEMPOTENCY_IN_PROGRESS` at once while another copy runs, `E_IDEMPOTENCY_MISMATCH` if the key was used with another
   * fingerprint, and `E_POSTGRES_UNAVAILABLE`, after which the effect may have happened: the client repeats the request with the same key.
   */
  run(
    request: IdempotentRequest,
    effect: (tx: Sql) => Promise<StoredResponse>,
  ): Promise<{ response: StoredResponse; replayed: boolean }>
  /**
   * As `run`, in one round trip and without a transaction that this process holds open: a row that every request needs is locked only
   * while Postgres works, not while a replica or the network is slow. Returns `undefined` if the effect was refused; the key is free then.
   */
  runStatement<Row>(request: IdempotentRequest, effect: EffectStatement): Promise<StatementOutcome<Row> | undefined>
  /** Deletes an owner's keys and stored responses in this transaction: the owner is deleted, too. */
  forget(tx: Sql, owner: string): Promise<void>
  /**
   * As `runStatement`, for several requests in one statement, no two with the same owner and key. Returns one outcome per request, in
   * their order: a request whose key is in use, or was used for something else, does not hold up the others. If the statement fails,
   * `runBatch` rejects, and nothing has happened for any of them. Optional: without it, the caller runs each request alone.
   */
  runBatch?<Row>(
    requests: IdempotentRequest[],
    effect: BatchEffect,
  ): Promise<PromiseSettledResult<StatementOutcome<Row> | undefined>[]>
}
