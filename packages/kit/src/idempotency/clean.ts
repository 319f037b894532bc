import { deleteOlderThan } from '../postgres/delete-older.ts'
import type { Postgres } from '../postgres/postgres.ts'

/** Forgets keys that are older than a day: a client that repeats a request later than that gets a second effect. Answers with how many. */
export function cleanIdempotencyKeys(postgres: Postgres, olderThanMs = 24 * 3_600_000): Promise<number> {
  return deleteOlderThan(postgres, 'idempotency_keys', 'created_at', olderThanMs)
}
