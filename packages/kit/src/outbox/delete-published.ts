import { deleteOlderThan } from '../postgres/delete-older.ts'
import type { Postgres } from '../postgres/postgres.ts'

/** Deletes messages published longer ago than that and returns the count. Queues remember the ids for as long, so nothing runs twice. */
export function cleanOutbox(postgres: Postgres, olderThanMs = 24 * 3_600_000): Promise<number> {
  return deleteOlderThan(postgres, 'outbox', 'published_at', olderThanMs)
}
