import type { Postgres } from '../postgres/postgres.ts'

const batch = 1000

/** Deletes what was published longer than that ago; answers with how many. Queues know the ids for as long, so that nothing runs twice. */
export async function cleanOutbox(postgres: Postgres, olderThanMs = 24 * 3_600_000): Promise<number> {
  let deleted = 0
  for (;;) {
    const { rowCount } = await postgres.query(
      `DELETE FROM outbox WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM outbox WHERE published_at < now() - $1 * interval '1 millisecond' LIMIT ${batch}
         FOR UPDATE SKIP LOCKED))`,
      [olderThanMs],
    )
    deleted += rowCount
    if (rowCount < batch) return deleted
  }
}
