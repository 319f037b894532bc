import { kitErrors } from '../errors/errors.ts'
import type { Postgres, Sql } from '../postgres/postgres.ts'
import type { Idempotency, IdempotentRequest, StoredAnswer } from './idempotency.ts'

export interface PostgresIdempotencyOptions {
  postgres: Postgres
  /** How long a process that was paused in the middle of its effect may keep the key. */
  idleTimeoutMs?: number
}

interface Claim {
  locked: boolean
  fingerprint: string | null
  status: number | null
  body: unknown
}

const claim = { name: 'idempotency-claim', text: 'SELECT * FROM claim_idempotency_key($1, $2, $3)' }
const store = {
  name: 'idempotency-store',
  text: 'INSERT INTO idempotency_keys (owner, key, fingerprint, status, body) VALUES ($1, $2, $3, $4, $5)',
}

/**
 * The key, the effect and the answer are one transaction, guarded by an advisory lock that ends with it. A process that dies
 * frees its key at once, a paused one after `idleTimeoutMs`: the server ends its transaction.
 * Costs four round trips beside the effect's own: BEGIN, claim, store, COMMIT; three for a replay and for a refusal.
 */
export function createPostgresIdempotency(options: PostgresIdempotencyOptions): Idempotency {
  const { postgres, idleTimeoutMs = 1500 } = options

  const once = async (tx: Sql, { owner, key, fingerprint }: IdempotentRequest, effect: Effect) => {
    const { rows } = await tx.query<Claim>(claim, [owner, key, idleTimeoutMs])
    const found = rows[0]
    if (!found?.locked) throw kitErrors.E_IDEMPOTENCY_IN_PROGRESS({ retryAfterMs: 1000 })
    if (found.fingerprint !== null && found.status !== null) {
      if (found.fingerprint !== fingerprint) throw kitErrors.E_IDEMPOTENCY_MISMATCH()
      return { answer: { status: found.status, body: found.body ?? undefined }, replayed: true }
    }
    const answer = await effect(tx)
    const body = answer.body === undefined ? null : JSON.stringify(answer.body)
    await tx.query(store, [owner, key, fingerprint, answer.status, body])
    return { answer, replayed: false }
  }

  return {
    scope: 'cluster',
    run: (request, effect) => postgres.transaction((tx) => once(tx, request, effect)),
  }
}

type Effect = (tx: Sql) => Promise<StoredAnswer>
