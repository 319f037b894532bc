import type { BreakerState, Breakers } from '@escala/kit/breaker/breaker'
import type { JobCounts } from '@escala/kit/jobs/jobs'
import type { LockUses } from '@escala/kit/locks/counted'
import type { Metrics } from '@escala/kit/metrics/metrics'
import type { Relay } from '@escala/kit/outbox/outbox'
import { maxCounted } from '@escala/kit/outbox/statements'
import type { Postgres } from '@escala/kit/postgres/postgres'
import type { Replicas } from '@escala/kit/replicas/replicas'

interface Sources {
  postgres: Postgres
  queue: { counts(): Promise<JobCounts>; oldestMs(): Promise<number> }
  lag: Relay['lag']
  breakers: Breakers
  locks: { uses(): LockUses }
  list: Replicas['list']
}

/** Adds what one worker exports. Jobs, outbox and registry are the whole cluster's, as any worker sees them: take their maximum, not their sum. The rest is each worker's own. */
export function addWorkerMetrics(metrics: Metrics, { postgres, queue, lag, breakers, locks, list }: Sources): void {
  metrics.gauges('escala_jobs', 'Jobs in each state; failed are dead letters.', 'state', async () => ({
    ...(await queue.counts()),
  }))
  metrics.gauge(
    'escala_oldest_job_seconds',
    'Age of the job that waits for the longest.',
    async () => (await queue.oldestMs()) / 1000,
  )
  // Both are read at the same time: one statement.
  let asked: ReturnType<typeof lag> | undefined
  const sharedLag = () => {
    asked ??= lag().finally(() => {
      asked = undefined
    })
    return asked
  }
  metrics.gauge(
    'escala_outbox_waiting',
    `Messages that are not published yet, counted up to ${maxCounted}.`,
    async () => (await sharedLag()).waiting,
  )
  metrics.gauge(
    'escala_outbox_oldest_seconds',
    'Age of the oldest of them.',
    async () => (await sharedLag()).oldestMs / 1000,
  )
  const byPeer = (read: (state: BreakerState) => number) => () =>
    Object.fromEntries(Object.entries(breakers.states()).map(([peer, state]) => [peer, read(state)]))
  metrics.gauges(
    'escala_breaker_open',
    '1 while calls to the peer are held back.',
    'peer',
    byPeer(({ open }) => Number(open)),
  )
  metrics.counters(
    'escala_breaker_refused_calls_total',
    'Calls to the peer that were held back.',
    'peer',
    byPeer(({ refused }) => refused),
  )
  metrics.gauges('escala_live_processes', 'Processes in the registry that are alive.', 'role', async () => {
    const live = { api: 0, worker: 0 }
    for (const { role } of await list()) live[role]++
    return live
  })
  metrics.gauges('escala_postgres_pool', 'Connections of the pool, and jobs that wait for one.', 'state', () => ({
    ...postgres.stats(),
  }))
  metrics.counters('escala_locks_total', 'Attempts to take a lock, and locks lost, by outcome.', 'outcome', locks.uses)
}
