import type { BreakerState, Breakers } from '@escala/kit/breaker/breaker.ts'
import type { JobCounts } from '@escala/kit/jobs/jobs.ts'
import { createMetrics, type Metrics } from '@escala/kit/metrics/metrics.ts'
import type { Relay } from '@escala/kit/outbox/outbox.ts'
import type { WorkerConfig } from './config.ts'

interface Sources {
  config: WorkerConfig
  counts(): Promise<JobCounts>
  lag: Relay['lag']
  breakers: Breakers
}

/** Jobs and outbox are the whole cluster's, as any worker sees them: take their maximum, not their sum. Breakers are each worker's own. */
export function workerMetrics({ config, counts, lag, breakers }: Sources): Metrics {
  const metrics = createMetrics({ service: 'worker', replica: config.REPLICA_ID, version: config.VERSION })
  metrics.gauges('escala_jobs', 'Jobs in each state; failed are dead letters.', 'state', async () => ({
    ...(await counts()),
  }))
  metrics.gauge('escala_outbox_waiting', 'Messages that are not published yet.', async () => (await lag()).waiting)
  metrics.gauge('escala_outbox_oldest_seconds', 'Age of the oldest of them.', async () => (await lag()).oldestMs / 1000)
  const byPeer = (read: (state: BreakerState) => number) => () =>
    Object.fromEntries(Object.entries(breakers.states()).map(([peer, state]) => [peer, read(state)]))
  metrics.gauges(
    'escala_breaker_open',
    '1 while calls to the peer are held back.',
    'peer',
    byPeer(({ open }) => Number(open)),
  )
  metrics.gauges(
    'escala_breaker_refused_calls',
    'Calls to the peer that were held back, since the start.',
    'peer',
    byPeer(({ refused }) => refused),
  )
  return metrics
}
