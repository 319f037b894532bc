import type { EventStreams } from '@escala/kit/events/sse.ts'
import type { CacheReads, LockUses } from '@escala/kit/metrics/counted.ts'
import { createMetrics, type Metrics } from '@escala/kit/metrics/metrics.ts'
import type { Overload } from '@escala/kit/overload/overload.ts'
import type { Postgres } from '@escala/kit/postgres/postgres.ts'
import type { RedisConnection } from '@escala/kit/redis/redis.ts'
import type { Replicas } from '@escala/kit/replicas/replicas.ts'
import type { ApiConfig } from './config.ts'
import type { Limits } from './limits.ts'

interface Sources {
  config: ApiConfig
  postgres: Postgres
  replicas: Replicas
  limits: Limits
  overload: Overload
  streams: EventStreams
  cache: { reads(): CacheReads }
  locks: { uses(): LockUses }
  /** By role: `state`, `cache`. */
  redis: Record<string, RedisConnection>
}

/** What one replica of the API tells Prometheus; requests are counted where they end. */
export function apiMetrics(sources: Sources): Metrics {
  const { config, postgres, replicas, limits, overload, streams, cache, locks, redis } = sources
  const metrics = createMetrics({ service: 'api', replica: config.REPLICA_ID, version: config.VERSION })
  metrics.gauges('escala_postgres_pool', 'Connections of the pool, and requests that wait for one.', 'state', () => ({
    ...postgres.stats(),
  }))
  metrics.gauges('escala_redis_ready', '1 while the connection works.', 'role', () =>
    Object.fromEntries(Object.entries(redis).map(([role, client]) => [role, Number(client.isAnswering())])),
  )
  metrics.gauge('escala_rate_limit_degraded', '1 while this process counts by itself.', () => Number(limits.degraded()))
  metrics.gauge('escala_live_replicas', 'API replicas, as this one knows them.', replicas.liveApis)
  metrics.gauge('escala_in_flight', 'Requests that this replica works on.', () => overload.state().inFlight)
  metrics.gauge('escala_streams', 'Event streams that are open; they are not in flight.', streams.count)
  metrics.gauge('escala_loop_delay_seconds', 'How late the event loop is.', () => overload.state().delayMs / 1000)
  metrics.counter('escala_shed_requests_total', 'Refused because of too much work.', () => overload.state().shed)
  metrics.counters('escala_cache_reads_total', 'Reads of the cache, by where the value came from.', 'from', cache.reads)
  metrics.counters('escala_locks_total', 'Attempts to take a lock, and locks lost, by outcome.', 'outcome', locks.uses)
  return metrics
}
