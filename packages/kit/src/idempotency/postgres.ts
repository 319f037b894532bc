import { kitErrors } from '../errors/errors.ts'
import type { Postgres, Sql } from '../postgres/postgres.ts'
import type {
  BatchEffect,
  EffectStatement,
  Idempotency,
  IdempotentRequest,
  StatementOutcome,
  StoredResponse,
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
 * The key, the effect and the response are one transaction, guarded by an advisory lock that ends with it. A process that dies
 * frees its key at once, a paused one after `idleTimeoutMs`: the server ends its transaction.
 * Costs four round trips beside the effect's own: BEGIN, claim, store, COMMIT; three for a replay and for a refusal.
 * With `runStatement` it is one for everything.
 */
export function createPostgresIdempotency(options: PostgresIdempotencyOptions): Required<Idempotency> {
  const { postgres, idleTimeoutMs = 1500 } = options

  const once = async (tx: Sql, { owner, key, fingerprint }: IdempotentRequest, effect: Effect) => {
    const { rows } = await tx.query<Claim>(claim, [owner, key, idleTimeoutMs])
    const found = rows[0]
    const stored = storedResponse(found, fingerprint)
    if (stored) return { response: stored, replayed: true }
    const response = await effect(tx)
    const body = response.body === undefined ? null : JSON.stringify(response.body)
    await tx.query(store, [owner, key, fingerprint, response.status, body])
    return { response, replayed: false }
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
    async forget(tx, owner) {
      await tx.query({ name: 'idempotency-forget', text: 'DELETE FROM idempotency_keys WHERE owner = $1' }, [owner])
    },
    async runBatch<Row>(requests: IdempotentRequest[], effect: BatchEffect) {
      const columns = [requests.map(({ owner }) => owner), requests.map(({ key }) => key)]
      const values = [...effect.values, ...columns, requests.map((request) => request.fingerprint), idleTimeoutMs]
      const { rows } = await postgres.query<Claimed<Row>>(withKeys(effect), values)
      return Promise.allSettled(requests.map(async ({ fingerprint }, at) => outcomeOf(rows[at], fingerprint)))
    },
  }
}

type Claimed<Row> = Claim & { response_status: number | null; response_body: unknown } & Row

function outcomeOf<Row>(found: Claimed<Row> | undefined, fingerprint: string): StatementOutcome<Row> | undefined {
  const stored = storedResponse(found, fingerprint)
  if (stored) return { response: stored, replayed: true }
  if (!found || found.response_status === null) return undefined
  const response = { status: found.response_status, body: found.response_body ?? undefined }
  return { response, replayed: false, row: found }
}

function storedResponse(found: Claim | undefined, fingerprint: string): StoredResponse | undefined {
  if (!found?.locked) throw kitErrors.E_IDEMPOTENCY_IN_PROGRESS({ retryAfterMs: 1000 })
  if (found.fingerprint === null || found.status === null) return undefined
  if (found.fingerprint !== fingerprint) throw kitErrors.E_IDEMPOTENCY_MISMATCH()
  return { status: found.status, body: found.body ?? undefined }
}

type Effect = (tx: Sql) => Promise<StoredResponse>
