import { createMetrics, type Metrics } from '@escala/kit/metrics/metrics.ts'
import type { Overload } from '@escala/kit/overload/overload.ts'
import type { Postgres } from '@escala/kit/postgres/postgres.ts'
import type { RateLimit } from '@escala/kit/rate-limits/middleware.ts'
import type { Replicas } from '@escala/kit/replicas/replicas.ts'
import type { Redis } from 'ioredis'
import type { ApiConfig } from './config.ts'

interface Sources {
  config: ApiConfig
  postgres: Postgres
  replicas: Replicas
  limit: RateLimit
  overload: Overload
  /** By role: `state`, `cache`. */
  redis: Record<string, Redis>
}

/** What one replica of the API tells Prometheus; requests are counted where they end. */
export function apiMetrics({ config, postgres, replicas, limit, overload, redis }: Sources): Metrics {
  const metrics = createMetrics({ service: 'api', replica: config.REPLICA_ID, version: config.VERSION })
  metrics.gauges('escala_postgres_pool', 'Connections of the pool, and requests that wait for one.', 'state', () => ({
    ...postgres.stats(),
  }))
  metrics.gauges('escala_redis_ready', '1 while the connection works.', 'role', () =>
    Object.fromEntries(Object.entries(redis).map(([role, client]) => [role, Number(client.status === 'ready')])),
  )
  metrics.gauge('escala_rate_limit_degraded', '1 while this process counts by itself.', () => Number(limit.degraded()))
  metrics.gauge('escala_live_replicas', 'API replicas, as this one knows them.', replicas.liveApis)
  metrics.gauge('escala_in_flight', 'Requests that this replica works on.', () => overload.state().inFlight)
  metrics.gauge('escala_loop_delay_seconds', 'How late the event loop is.', () => overload.state().delayMs / 1000)
  metrics.gauge(
    'escala_shed_requests',
    'Requests refused because of too much work, since the start.',
    () => overload.state().shed,
  )
  return metrics
}
