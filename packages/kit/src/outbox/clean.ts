import { deleteOlderThan } from '../postgres/delete-older.ts'
import type { Postgres } from '../postgres/postgres.ts'

/** Deletes what was published longer than that ago; answers with how many. Queues know the ids for as long, so that nothing runs twice. */
export function cleanOutbox(postgres: Postgres, olderThanMs = 24 * 3_600_000): Promise<number> {
  return deleteOlderThan(postgres, 'outbox', 'published_at', olderThanMs)
}
