import { kitErrors } from '../errors/errors.ts'
import type { Postgres, Sql } from '../postgres/postgres.ts'
import type {
  BatchEffect,
  EffectStatement,
  Idempotency,
  IdempotentRequest,
  StatementOutcome,
  StoredAnswer,
} from './idempotency.ts'
import { withKey, withKeys } from './statement.ts'

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
 * With `runStatement` it is one for everything.
 */
export function createPostgresIdempotency(options: PostgresIdempotencyOptions): Required<Idempotency> {
  const { postgres, idleTimeoutMs = 1500 } = options

  const once = async (tx: Sql, { owner, key, fingerprint }: IdempotentRequest, effect: Effect) => {
    const { rows } = await tx.query<Claim>(claim, [owner, key, idleTimeoutMs])
    const found = rows[0]
    const stored = storedAnswer(found, fingerprint)
    if (stored) return { answer: stored, replayed: true }
    const answer = await effect(tx)
    const body = answer.body === undefined ? null : JSON.stringify(answer.body)
    await tx.query(store, [owner, key, fingerprint, answer.status, body])
    return { answer, replayed: false }
  }

  return {
    scope: 'cluster',
    run: (request, effect) => postgres.transaction((tx) => once(tx, request, effect)),
    async runStatement<Row>(request: IdempotentRequest, effect: EffectStatement) {
      const { owner, key, fingerprint } = request
      const values = [...effect.values, owner, key, fingerprint, idleTimeoutMs]
      const { rows } = await postgres.query<Claimed<Row>>(withKey(effect), values)
      return outcomeOf(rows[0], fingerprint)
    },
    async runBatch<Row>(requests: IdempotentRequest[], effect: BatchEffect) {
      const columns = [requests.map(({ owner }) => owner), requests.map(({ key }) => key)]
      const values = [...effect.values, ...columns, requests.map((request) => request.fingerprint), idleTimeoutMs]
      const { rows } = await postgres.query<Claimed<Row>>(withKeys(effect), values)
      return Promise.allSettled(requests.map(async ({ fingerprint }, at) => outcomeOf(rows[at], fingerprint)))
    },
  }
}

type Claimed<Row> = Claim & { answer_status: number | null; answer_body: unknown } & Row

function outcomeOf<Row>(found: Claimed<Row> | undefined, fingerprint: string): StatementOutcome<Row> | undefined {
  const stored = storedAnswer(found, fingerprint)
  if (stored) return { answer: stored, replayed: true }
  if (!found || found.answer_status === null) return undefined
  const answer = { status: found.answer_status, body: found.answer_body ?? undefined }
  return { answer, replayed: false, row: found }
}

function storedAnswer(found: Claim | undefined, fingerprint: string): StoredAnswer | undefined {
  if (!found?.locked) throw kitErrors.E_IDEMPOTENCY_IN_PROGRESS({ retryAfterMs: 1000 })
  if (found.fingerprint === null || found.status === null) return undefined
  if (found.fingerprint !== fingerprint) throw kitErrors.E_IDEMPOTENCY_MISMATCH()
  return { status: found.status, body: found.body ?? undefined }
}

type Effect = (tx: Sql) => Promise<StoredAnswer>
