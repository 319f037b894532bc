export interface Head {
  id: string
  aggregate: string
}

export interface Row {
  id: string
  aggregate: string
  type: string
  payload: unknown
  request_id: string | null
  traceparent: string | null
}

// The oldest unpublished message of each aggregate behind the cursor: one step down the index for each, however many messages
// an aggregate has. The order of aggregates is arbitrary, so a cursor goes round them: each has its turn.
const heads = (name: string, from: string) => ({
  name,
  text: `WITH RECURSIVE heads AS (
      (SELECT id, aggregate, 1 AS n FROM outbox
        WHERE published_at IS NULL ${from} ORDER BY aggregate, position LIMIT 1)
      UNION ALL
      SELECT following.id, following.aggregate, n + 1 FROM heads, LATERAL (
        SELECT id, aggregate FROM outbox
        WHERE published_at IS NULL AND aggregate > heads.aggregate ORDER BY aggregate, position LIMIT 1
      ) AS following
      WHERE n < $1
    )
    SELECT id, aggregate FROM heads`,
})
export const firstHeads = heads('outbox-heads', '')
export const nextHeads = heads('outbox-heads-after', 'AND aggregate > $2')

// The relay that holds an aggregate's oldest message may publish those behind it, in their order: a second relay cannot overtake it.
// Rows that another relay holds are skipped, so relays share the work; rows that it has published meanwhile no longer match.
// `IS TRUE` keeps the planner from reading all that wait by an index of theirs, to find those whose ids it knows.
// A relay that is paused in the middle keeps its rows until the server ends its transaction (see `limits` of `migrate`).
export const takeRuns = {
  name: 'outbox-take',
  text: `WITH locked AS (
      SELECT id, aggregate FROM outbox WHERE id = ANY ($1::uuid[]) AND (published_at IS NULL) IS TRUE
      ORDER BY id FOR UPDATE SKIP LOCKED
    )
    SELECT run.* FROM locked, LATERAL (
      SELECT id, outbox.aggregate, type, payload, request_id, traceparent FROM outbox
      WHERE published_at IS NULL AND outbox.aggregate = locked.aggregate
      ORDER BY position LIMIT (SELECT greatest(1, $2::int / count(*)) FROM locked)
    ) AS run`,
}
/** What a relay runs again and again, for a test of its cost. */
export const statements = (id: string) => [
  { text: firstHeads.text, values: [100] },
  { text: nextHeads.text, values: [100, ''] },
  { text: takeRuns.text, values: [[id], 200] },
]

export const mark = { name: 'outbox-mark', text: 'UPDATE outbox SET published_at = now() WHERE id = ANY ($1::uuid[])' }
/** A backlog is counted up to here: what a look at the metrics costs must not grow with it. Its age says how bad it is. */
export const maxCounted = 2000
export const waiting = {
  name: 'outbox-waiting',
  text: `SELECT (SELECT count(*)::int FROM (SELECT FROM outbox WHERE published_at IS NULL LIMIT ${maxCounted}) AS counted) AS waiting,
      coalesce(extract(epoch FROM now() -
        (SELECT created_at FROM outbox WHERE published_at IS NULL ORDER BY position LIMIT 1)) * 1000, 0)::float8 AS "oldestMs"`,
}
