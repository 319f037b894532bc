import { deleteOlderThan } from '../postgres/delete-older.ts'
import type { Postgres } from '../postgres/postgres.ts'

/** Deletes keys older than a day and returns the count. A retry after that runs the effect again. */
export function cleanIdempotencyKeys(postgres: Postgres, olderThanMs = 24 * 3_600_000): Promise<number> {
  return deleteOlderThan(postgres, 'idempotency_keys', 'created_at', olderThanMs)
}
