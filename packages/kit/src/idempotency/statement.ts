import type { Postgres, Statement } from '../postgres/postgres.ts'
import type { BatchEffect, EffectStatement, StatementOutcome, StoredResponse } from './idempotency.ts'

/**
 * The statement sees the database as it was before it had the key's lock. The claim, a function, looks again: a copy that
 * committed in between is found, and no change is made.
 */
export function withKey({ name, changes, response, values }: EffectStatement): Statement {
  const [owner, key, fingerprint, idle] = [1, 2, 3, 4].map((n) => `$${values.length + n}`)
  return {
    name,
    text: `WITH claim AS MATERIALIZED (SELECT * FROM claim_idempotency_key(${owner}::text, ${key}::text, ${idle}::int)),
      unclaimed AS (SELECT FROM claim WHERE locked AND fingerprint IS NULL),
      ${changes},
      response AS (${response}),
      stored AS (
        INSERT INTO idempotency_keys (owner, key, fingerprint, status, body)
        SELECT ${owner}::text, ${key}::text, ${fingerprint}::text, response.status, response.body FROM response
      )
    SELECT response.*, response.status AS response_status, response.body AS response_body, claim.*
    FROM claim LEFT JOIN response ON true`,
  }
}

/** The effect alone, each time it is run; its row has the response's columns. */
export function withoutKey({ name, changes, response }: EffectStatement): Statement {
  return { name: `${name}-alone`, text: `WITH unclaimed AS (SELECT), ${changes} ${response}` }
}

/** Runs an effect without a key. `undefined`: it was refused. */
export async function runAlone<Row>(
  postgres: Pick<Postgres, 'query'>,
  effect: EffectStatement,
): Promise<(StatementOutcome<Row> & { replayed: false }) | undefined> {
  const { rows } = await postgres.query<StoredResponse & Row>(withoutKey(effect), effect.values)
  const [row] = rows
  return row && { response: { status: row.status, body: row.body ?? undefined }, replayed: false, row }
}

/** `withKey` for several requests. Their keys' locks are tried, never waited for: two batches cannot wait for each other. */
export function withKeys({ name, changes, response, values }: BatchEffect): Statement {
  const [owners, keys, fingerprints, idle] = [1, 2, 3, 4].map((n) => `$${values.length + n}`)
  return {
    name,
    text: `WITH asked AS (
        SELECT * FROM unnest(${owners}::text[], ${keys}::text[], ${fingerprints}::text[])
          WITH ORDINALITY AS asked (owner, key, fingerprint, seq)
      ), claim AS MATERIALIZED (
        SELECT asked.seq, asked.owner, asked.key, asked.fingerprint AS asked_fingerprint, claimed.*
        FROM asked, LATERAL claim_idempotency_key(asked.owner, asked.key, ${idle}::int) AS claimed
      ), unclaimed AS MATERIALIZED (SELECT seq FROM claim WHERE locked AND fingerprint IS NULL),
      ${changes},
      response AS (${response}),
      stored AS (
        INSERT INTO idempotency_keys (owner, key, fingerprint, status, body)
        SELECT claim.owner, claim.key, claim.asked_fingerprint, response.status, response.body FROM response JOIN claim USING (seq)
      )
    SELECT response.*, response.status AS response_status, response.body AS response_body,
      claim.locked, claim.fingerprint, claim.status, claim.body
    FROM claim LEFT JOIN response USING (seq) ORDER BY claim.seq`,
  }
}
