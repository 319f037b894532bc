import type { JobHandler } from '@escala/kit/jobs/jobs'
import type { WorkerParts } from '@escala/kit/module'
import type { Statement } from '@escala/kit/postgres/postgres'
import { announceClicks } from './live.ts'
import { clickOf } from './messages.ts'

// The row of the click and the count: both, or neither. A second run inserts no row and so counts nothing.
const count: Statement = {
  name: 'links-count-click',
  text: `WITH click AS (
      INSERT INTO link_clicks (id, code, clicked_at) SELECT $1, code, $3 FROM links WHERE code = $2
      ON CONFLICT (id) DO NOTHING RETURNING code
    )
    UPDATE links SET clicks = clicks + 1 FROM click WHERE links.code = click.code RETURNING clicks`,
}

/** Counts one click, once, however often the job runs; then publishes the new number. */
export function clickJob({
  postgres,
  events,
  metrics,
}: Pick<WorkerParts, 'postgres' | 'events' | 'metrics'>): JobHandler {
  const counted = metrics.counter({ name: 'clicks_total', help: 'Clicks that were counted.' })
  return async (job) => {
    const { code, id, at } = clickOf(job)
    const { rows } = await postgres.query<{ clicks: number }>(count, [id, code, at])
    const [row] = rows
    if (row === undefined) return job.log.info({ code }, 'click was counted already, or its link is gone')
    counted.inc()
    await announceClicks(events, job.log, code, row.clicks)
  }
}
