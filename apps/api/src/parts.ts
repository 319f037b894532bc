import type { RequestListener } from 'node:http'
import type { Cache } from '@escala/kit/cache/cache'
import { countReads } from '@escala/kit/cache/counted'
import { createTieredCache } from '@escala/kit/cache/tiered'
import type { Events } from '@escala/kit/events/events'
import { createRedisEvents } from '@escala/kit/events/redis'
import type { Flag, Flags } from '@escala/kit/flags/flags'
import { createPostgresFlags } from '@escala/kit/flags/postgres'
import type { Idempotency } from '@escala/kit/idempotency/idempotency'
import { createPostgresIdempotency } from '@escala/kit/idempotency/postgres'
import { countLocks } from '@escala/kit/locks/counted'
import type { Locks } from '@escala/kit/locks/locks'
import { createRedisLocks } from '@escala/kit/locks/redis'
import type { Logger } from '@escala/kit/log/log'
import type { Outbox } from '@escala/kit/outbox/outbox'
import { createPostgresOutbox } from '@escala/kit/outbox/postgres'
import { hasArgon2 } from '@escala/kit/passwords/argon2id'
import { argon2idMark } from '@escala/kit/passwords/roll-out'
import type { Changes } from '@escala/kit/postgres/changes'
import type { Postgres } from '@escala/kit/postgres/postgres'
import type { RateLimitStores } from '@escala/kit/rate-limits/rate-limits'
import { createRedisRateLimits } from '@escala/kit/rate-limits/redis'
import type { redisPrefixes } from '@escala/kit/redis/prefixes'
import type { RedisConnection } from '@escala/kit/redis/redis'
import type { Scope } from '@escala/kit/scope'
import { createRedisSessionState } from '@escala/kit/session-state/redis'
import type { SessionState } from '@escala/kit/session-state/session-state'
import { createRedisSessions } from '@escala/kit/sessions/redis'
import type { SessionStore } from '@escala/kit/sessions/sessions'
import { createPostgresUploads } from '@escala/kit/uploads/postgres'
import { createS3Uploads } from '@escala/kit/uploads/s3'
import type { Uploads } from '@escala/kit/uploads/uploads'
import type { Redis } from 'ioredis'
import { type ApiConfig, storeTimeoutMs } from './config.ts'

/** What an adapter may need. */
export interface Deps {
  config: ApiConfig
  log: Logger
  postgres: Postgres
  /** State: `noeviction`. */
  redis: RedisConnection
  /** May forget anything at any time. */
  cacheRedis: RedisConnection
  /** Hears what is published on the cache Redis: nothing that may not be lost. */
  subscriber: Redis
  /** Waits at the state Redis for events. */
  reader: Redis
  /** Where each part keeps its keys. */
  prefixes: ReturnType<typeof redisPrefixes>
  /** Reports which tables have changed. */
  changes: Changes
  /** Those of every module. */
  declaredFlags: Flag[]
}

/** The parts that can be replaced: each is made of what it may need. This is the one place that picks adapters. */
export interface Parts {
  sessions(deps: Deps): SessionStore
  rateLimits(deps: Deps): RateLimitStores
  idempotency(deps: Deps): Idempotency
  outbox(deps: Deps): Outbox
  locks(deps: Deps): Locks
  sessionState(deps: Deps): SessionState
  cache(deps: Deps): Cache
  events(deps: Deps): Events
  uploads(deps: Deps): Uploads
  flags(deps: Deps): Flags
  /** What the server hands each request to; the application itself unless something has to come before it. */
  listener(app: RequestListener, deps: Deps): RequestListener
}

export const clusterParts: Parts = {
  sessions: ({ redis, prefixes }) => createRedisSessions({ redis, prefix: prefixes.sessions }),
  rateLimits: ({ redis, prefixes }) => createRedisRateLimits({ redis, prefix: prefixes.rateLimits }),
  idempotency: ({ postgres }) => createPostgresIdempotency({ postgres }),
  outbox: () => createPostgresOutbox(),
  locks: ({ redis, log, prefixes }) => createRedisLocks({ redis, log, prefix: prefixes.locks }),
  sessionState: ({ redis, prefixes }) => createRedisSessionState({ redis, ...prefixes.sessionState }),
  cache: ({ cacheRedis, subscriber, log, prefixes }) =>
    createTieredCache({
      prefix: prefixes.cache,
      redis: cacheRedis,
      subscriber,
      log,
      l1: { maxEntries: 10_000, maxBytes: 32_000_000, maxAgeMs: 5000 },
    }),
  events: ({ redis, reader, log, prefixes }) => createRedisEvents({ redis, reader, log, prefix: prefixes.events }),
  uploads: ({ config, postgres }) =>
    config.UPLOADS_S3_URL
      ? createS3Uploads({ ...config.UPLOADS_S3_URL, timeoutMs: storeTimeoutMs(config) })
      : createPostgresUploads({ postgres }),
  flags: ({ cacheRedis, subscriber, declaredFlags: declared, postgres, changes, log, prefixes }) =>
    createPostgresFlags({
      declared,
      postgres,
      log,
      changes,
      broadcast: { redis: cacheRedis, subscriber, channel: prefixes.flags },
    }),
  listener: (app) => app,
}

/** Makes every part, and counts what metrics report. */
export function makeParts(deps: Deps, replaced: Partial<Parts>) {
  const make = { ...clusterParts, ...replaced }
  return {
    sessions: make.sessions(deps),
    rateLimits: make.rateLimits(deps),
    idempotency: make.idempotency(deps),
    outbox: make.outbox(deps),
    locks: countLocks(make.locks(deps)),
    sessionState: make.sessionState(deps),
    cache: countReads(make.cache(deps)),
    events: make.events(deps),
    uploads: make.uploads(deps),
    flags: make.flags(deps),
  }
}

export type MadeParts = ReturnType<typeof makeParts>

/** Who sees what each part keeps, and that this replica verifies argon2id. */
export const scopesOf = (parts: MadeParts): Record<string, Scope> => ({
  ...Object.fromEntries(Object.entries(parts).map(([name, { scope }]) => [name, scope])),
  ...(hasArgon2 && { [argon2idMark]: 'cluster' }),
})
