import type { Postgres } from '../postgres/postgres.ts'
import type { MessageQueue } from './outbox.ts'

const batch = 500
// A queue forgets finished jobs after a day: messages that are nearly as old prove nothing.
const knownHours = 23
// Longer than a relay's transaction: what one relay added last may have an earlier time than what another had added before.
const deepMs = 10_000

interface Published {
  id: string
  type: string
  /** As text: a JavaScript date has no microseconds. */
  at: string
  ms: number
}

// Newest first; `id` breaks ties, since all messages of one batch have one time.
const newest = {
  name: 'outbox-published',
  text: `SELECT id, type, published_at::text AS at, (extract(epoch FROM published_at) * 1000)::float8 AS ms FROM outbox
    WHERE published_at > now() - interval '${knownHours} hours' AND (published_at, id) < ($1::timestamptz, $2::uuid)
    ORDER BY published_at DESC, id DESC LIMIT $3`,
}
const reset = { name: 'outbox-reset', text: 'UPDATE outbox SET published_at = NULL WHERE id = ANY ($1::uuid[])' }

export const jobId = (type: string, messageId: string): string => `${type}-${messageId}`

/**
 * Marks messages as unpublished that the queue no longer has: all of the last 23 hours after a queue that came back empty, the last
 * ones after a queue whose file ends a moment too early. Looks at the newest first and stops at the first batch of which the queue
 * still has every message, so a healthy queue costs one look. A deep look, for after an outage, goes back for ten seconds at least. Jobs that were finished run again: handlers must bear that.
 * Returns how many; in batches, each with its own statement.
 */
export async function republishLost(
  postgres: Postgres,
  queue: Pick<MessageQueue, 'missing'>,
  { signal, deep }: { signal: AbortSignal; deep: boolean },
): Promise<number> {
  let lost = 0
  let newestMs: number | undefined
  let before: Pick<Published, 'id' | 'at'> = { at: 'infinity', id: 'ffffffff-ffff-ffff-ffff-ffffffffffff' }
  for (let size = deep ? batch : 20; !signal.aborted; size = batch) {
    const { rows } = await postgres.query<Published>(newest, [before.at, before.id, size])
    const ids = new Map(rows.map(({ id, type }) => [jobId(type, id), id]))
    const missing = await queue.missing(rows.map(({ id, type, ms }) => ({ id: jobId(type, id), type, addedMs: ms })))
    if (missing.length > 0) {
      const { rowCount } = await postgres.query(reset, [missing.map((id) => ids.get(id))])
      lost += rowCount
    }
    const last = rows.at(-1)
    newestMs ??= rows[0]?.ms
    if (last === undefined || newestMs === undefined || rows.length < size) return lost
    if (missing.length === 0 && (!deep || newestMs - last.ms >= deepMs)) return lost
    before = last
  }
  return lost
}
