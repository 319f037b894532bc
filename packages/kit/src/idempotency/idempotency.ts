import type { Sql } from '../postgres/postgres.ts'
import type { Scope } from '../scope.ts'

export interface IdempotentRequest {
  /** Whose key it is: another owner's same key is another request. */
  owner: string
  key: string
  /** Of method, path and body; see `fingerprint()`. */
  fingerprint: string
}

export interface StoredAnswer {
  status: number
  body: unknown
}

export interface Idempotency {
  scope: Scope
  /**
   * Runs `effect` once per owner and key; its answer, and what it wrote through `tx`, commit together with the key.
   * A rejected `effect` leaves nothing behind: the key is free again.
   * Throws `E_IDEMPOTENCY_IN_PROGRESS` at once while another copy runs, `E_IDEMPOTENCY_MISMATCH` for another fingerprint.
   */
  run(
    request: IdempotentRequest,
    effect: (tx: Sql) => Promise<StoredAnswer>,
  ): Promise<{ answer: StoredAnswer; replayed: boolean }>
}
