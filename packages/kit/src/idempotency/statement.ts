import type { Statement } from '../postgres/postgres.ts'
import type { BatchEffect, EffectStatement } from './idempotency.ts'

/**
 * The statement sees the database as it was before it had the key's lock. The claim, a function, looks again: a copy that
 * committed in between is found, and no change is made.
 */
export function withKey({ name, changes, answer, values }: EffectStatement): Statement {
  const [owner, key, fingerprint, idle] = [1, 2, 3, 4].map((n) => `$${values.length + n}`)
  return {
    name,
    text: `WITH claim AS MATERIALIZED (SELECT * FROM claim_idempotency_key(${owner}::text, ${key}::text, ${idle}::int)),
      unclaimed AS (SELECT FROM claim WHERE locked AND fingerprint IS NULL),
      ${changes},
      answer AS (${answer}),
      stored AS (
        INSERT INTO idempotency_keys (owner, key, fingerprint, status, body)
        SELECT ${owner}::text, ${key}::text, ${fingerprint}::text, answer.status, answer.body FROM answer
      )
    SELECT answer.*, answer.status AS answer_status, answer.body AS answer_body, claim.*
    FROM claim LEFT JOIN answer ON true`,
  }
}

/** The effect alone, each time it is run; its row has the answer's columns. */
export function withoutKey({ name, changes, answer }: EffectStatement): Statement {
  return { name: `${name}-alone`, text: `WITH unclaimed AS (SELECT), ${changes} ${answer}` }
}

/** The same for several requests. Their keys' locks are tried, never waited for: two batches cannot wait for each other. */
export function withKeys({ name, changes, answer, values }: BatchEffect): Statement {
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
      answer AS (${answer}),
      stored AS (
        INSERT INTO idempotency_keys (owner, key, fingerprint, status, body)
        SELECT claim.owner, claim.key, claim.asked_fingerprint, answer.status, answer.body FROM answer JOIN claim USING (seq)
      )
    SELECT answer.*, answer.status AS answer_status, answer.body AS answer_body,
      claim.locked, claim.fingerprint, claim.status, claim.body
    FROM claim LEFT JOIN answer USING (seq) ORDER BY claim.seq`,
  }
}
