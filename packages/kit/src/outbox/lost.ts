import type { JobQueue } from '../jobs/jobs.ts'
import type { Postgres } from '../postgres/postgres.ts'

const batch = 500
// A queue forgets finished jobs after a day: what is nearly as old tells nothing.
const knownHours = 23

interface Published {
  id: string
  type: string
  /** As text: a JavaScript date has no microseconds. */
  at: string
}

// Newest first; `id` breaks ties, since all messages of one batch have one time.
const newest = {
  name: 'outbox-published',
  text: `SELECT id, type, published_at::text AS at FROM outbox
    WHERE published_at > now() - interval '${knownHours} hours' AND (published_at, id) < ($1::timestamptz, $2::uuid)
    ORDER BY published_at DESC, id DESC LIMIT $3`,
}
const reset = { name: 'outbox-reset', text: 'UPDATE outbox SET published_at = NULL WHERE id = ANY ($1::uuid[])' }

export const jobId = (type: string, messageId: string): string => `${type}-${messageId}`

/**
 * Marks messages as unpublished that the queue no longer has: all of the last 23 hours after a queue that came back empty, the last
 * ones after a queue whose file ends a moment too early. Looks at the newest first and stops at the first batch of which the queue
 * still has every message, so a healthy queue costs one look. Jobs that were finished run again: handlers must bear that.
 * Returns how many; in batches, each with its own statement.
 */
export async function republishLost(
  postgres: Postgres,
  queue: Pick<JobQueue, 'missing'>,
  signal: AbortSignal,
): Promise<number> {
  let lost = 0
  let before: Pick<Published, 'id' | 'at'> = { at: 'infinity', id: 'ffffffff-ffff-ffff-ffff-ffffffffffff' }
  for (let size = 20; !signal.aborted; size = batch) {
    const { rows } = await postgres.query<Published>(newest, [before.at, before.id, size])
    const ids = new Map(rows.map(({ id, type }) => [jobId(type, id), id]))
    const missing = await queue.missing(rows.map(({ id, type }) => ({ id: jobId(type, id), type })))
    if (missing.length > 0) {
      const { rowCount } = await postgres.query(reset, [missing.map((id) => ids.get(id))])
      lost += rowCount
    }
    if (missing.length === 0 || rows.length < size) return lost
    before = rows.at(-1) as Published
  }
  return lost
}
