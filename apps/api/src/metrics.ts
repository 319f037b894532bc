import type { CacheReads } from '@escala/kit/cache/counted'
import type { EventStreams } from '@escala/kit/events/sse'
import type { LockUses } from '@escala/kit/locks/counted'
import type { Metrics } from '@escala/kit/metrics/metrics'
import type { Overload } from '@escala/kit/overload/overload'
import type { Postgres } from '@escala/kit/postgres/postgres'
import type { RedisConnection } from '@escala/kit/redis/redis'
import { type RedisFacts, readRedisFacts } from '@escala/kit/redis/watch'
import type { Replicas } from '@escala/kit/replicas/replicas'
import type { Limits } from './limits.ts'

interface Sources {
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

/** Adds what one replica of the API exports to Prometheus; requests are counted where they end. */
export function addApiMetrics(metrics: Metrics, sources: Sources): void {
  const { postgres, replicas, limits, overload, streams, cache, locks, redis } = sources
  metrics.gauges('escala_postgres_pool', 'Connections of the pool, and requests that wait for one.', 'state', () => ({
    ...postgres.stats(),
  }))
  metrics.gauges('escala_redis_ready', '1 while the connection works.', 'role', () =>
    Object.fromEntries(Object.entries(redis).map(([role, client]) => [role, Number(client.isAnswering())])),
  )
  const memory = createMemoryReader(redis)
  metrics.gauges('escala_redis_used_bytes', 'Memory that Redis uses.', 'role', () => memory('usedBytes'))
  metrics.gauges('escala_redis_max_bytes', 'Its maxmemory; 0 if it has none.', 'role', () => memory('maxBytes'))
  metrics.gauge('escala_rate_limit_degraded', '1 while this process counts by itself.', () => Number(limits.degraded()))
  metrics.gauge('escala_live_replicas', 'API replicas, as this one knows them.', replicas.liveApis)
  metrics.gauge('escala_in_flight', 'Requests that this replica works on.', () => overload.state().inFlight)
  metrics.gauge('escala_streams', 'Event streams that are open; they are not in flight.', streams.count)
  metrics.gauge('escala_loop_delay_seconds', 'How late the event loop is.', () => overload.state().delayMs / 1000)
  metrics.counters('escala_cache_reads_total', 'Reads of the cache, by where the value came from.', 'from', cache.reads)
  metrics.counters('escala_locks_total', 'Attempts to take a lock, and locks lost, by outcome.', 'outcome', locks.uses)
}

/** One look at each server for all that is asked at the same time; a server that does not answer is left out. */
function createMemoryReader(redis: Sources['redis']) {
  let looking: Promise<[string, RedisFacts][]> | undefined
  const look = async () => {
    const answering = Object.entries(redis).filter(([, client]) => client.isAnswering())
    const found = await Promise.allSettled(
      answering.map(async ([role, client]): Promise<[string, RedisFacts]> => [role, await readRedisFacts(client)]),
    )
    return found.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  }
  return async (field: 'usedBytes' | 'maxBytes') => {
    looking ??= look().finally(() => {
      looking = undefined
    })
    return Object.fromEntries((await looking).map(([role, facts]) => [role, facts[field]]))
  }
}
