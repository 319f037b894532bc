import type { JobCounts } from '@escala/kit/jobs/jobs.ts'
import { createMetrics, type Metrics } from '@escala/kit/metrics/metrics.ts'
import type { Relay } from '@escala/kit/outbox/outbox.ts'
import type { WorkerConfig } from './config.ts'

interface Sources {
  config: WorkerConfig
  counts(): Promise<JobCounts>
  lag: Relay['lag']
}

/** Jobs and outbox are the whole cluster's, as any worker sees them: take their maximum, not their sum. */
export function workerMetrics({ config, counts, lag }: Sources): Metrics {
  const metrics = createMetrics({ service: 'worker', replica: config.REPLICA_ID, version: config.VERSION })
  metrics.gauges('escala_jobs', 'Jobs in each state; failed are dead letters.', 'state', async () => ({
    ...(await counts()),
  }))
  metrics.gauge('escala_outbox_waiting', 'Messages that are not published yet.', async () => (await lag()).waiting)
  metrics.gauge('escala_outbox_oldest_seconds', 'Age of the oldest of them.', async () => (await lag()).oldestMs / 1000)
  return metrics
}
