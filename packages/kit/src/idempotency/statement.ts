import type { Statement } from '../postgres/postgres.ts'
import type { EffectStatement } from './idempotency.ts'

/**
 * The statement sees the database as it was before it had the key's lock. The claim, a function, looks anew: a copy that
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
