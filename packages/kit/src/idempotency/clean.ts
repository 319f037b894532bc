import type { Postgres } from '../postgres/postgres.ts'

const batch = 1000

/**
 * Forgets keys that are older than a day: a client that repeats a request later than that gets a second effect.
 * Answers with how many there were. In batches, so that no statement comes near its timeout.
 */
export async function cleanIdempotencyKeys(postgres: Postgres, olderThanMs = 24 * 3_600_000): Promise<number> {
  let deleted = 0
  for (;;) {
    const { rowCount } = await postgres.query(
      `DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM idempotency_keys WHERE created_at < now() - $1 * interval '1 millisecond' LIMIT ${batch}
         FOR UPDATE SKIP LOCKED))`,
      [olderThanMs],
    )
    deleted += rowCount
    if (rowCount < batch) return deleted
  }
}
