import type { JobHandler } from '@escala/kit/jobs/jobs'
import type { WorkerParts } from '@escala/kit/module'
import type { Statement } from '@escala/kit/postgres/postgres'

/** Clicks are kept for so many whole days; a night without a worker is made up for in the next one. */
const keptDays = 7
/** Rows that one statement deletes. */
const batch = 5000

// Computed again each night from what is there: a run that comes twice writes the same rows.
const aggregate: Statement = {
  name: 'links-aggregate',
  text: `INSERT INTO link_days (code, day, clicks)
    SELECT code, (clicked_at AT TIME ZONE 'UTC')::date AS day, count(*)::int FROM link_clicks
    WHERE clicked_at >= $1::date::timestamp AT TIME ZONE 'UTC' AND clicked_at < ($1::date + 1)::timestamp AT TIME ZONE 'UTC'
    GROUP BY code, day
    ON CONFLICT (code, day) DO UPDATE SET clicks = greatest(link_days.clicks, excluded.clicks)`,
}

const selectDays: Statement = {
  name: 'links-days-to-aggregate',
  text: `SELECT ((now() AT TIME ZONE 'UTC')::date - n)::text AS day FROM generate_series(1, $1::int) AS n`,
}

const deleteOld: Statement = {
  name: 'links-delete-old-clicks',
  text: `DELETE FROM link_clicks WHERE id = ANY (ARRAY(
      SELECT id FROM link_clicks
      WHERE clicked_at < ((now() AT TIME ZONE 'UTC')::date - $1::int)::timestamp AT TIME ZONE 'UTC'
      ORDER BY clicked_at LIMIT $2
    ))`,
}

/** Adds up the clicks of the last whole days, one statement for each, and deletes the older ones in batches. */
export function aggregateJob({ postgres }: Pick<WorkerParts, 'postgres'>): JobHandler {
  return async (job) => {
    const { rows: days } = await postgres.query<{ day: string }>(selectDays, [keptDays])
    let rows = 0
    for (const { day } of days) {
      job.signal.throwIfAborted()
      rows += (await postgres.query(aggregate, [day])).rowCount
    }
    let deleted = 0
    for (let last = batch; last === batch && !job.signal.aborted; deleted += last) {
      last = (await postgres.query(deleteOld, [keptDays, batch])).rowCount
    }
    job.log.info({ rows, deleted }, 'clicks aggregated')
  }
}
