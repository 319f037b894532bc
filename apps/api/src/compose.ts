import type { RequestListener } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'
import { hasRole } from '@escala/accounts/accounts.ts'
import type { Cache } from '@escala/kit/cache/cache.ts'
import { createTieredCache } from '@escala/kit/cache/tiered.ts'
import type { Carts } from '@escala/kit/cart/cart.ts'
import { createRedisCarts } from '@escala/kit/cart/redis.ts'
import type { Config } from '@escala/kit/config/config.ts'
import type { Events } from '@escala/kit/events/events.ts'
import { createPlaces } from '@escala/kit/events/places.ts'
import { createRedisEvents } from '@escala/kit/events/redis.ts'
import { createEventStreams } from '@escala/kit/events/sse.ts'
import type { Flag, Flags } from '@escala/kit/flags/flags.ts'
import { createPostgresFlags } from '@escala/kit/flags/postgres.ts'
import { createClientErrorAnswer, createLargeHeadAnswer } from '@escala/kit/http/client-error.ts'
import { createGate } from '@escala/kit/http/gate.ts'
import { createInternalApp } from '@escala/kit/http/internal.ts'
import { createRefusal } from '@escala/kit/http/refusal.ts'
import type { Idempotency } from '@escala/kit/idempotency/idempotency.ts'
import { createPostgresIdempotency } from '@escala/kit/idempotency/postgres.ts'
import { bounded } from '@escala/kit/lifecycle/bounded.ts'
import { createHttpServer } from '@escala/kit/lifecycle/http-server.ts'
import { createLifecycle } from '@escala/kit/lifecycle/lifecycle.ts'
import type { Composition } from '@escala/kit/lifecycle/process.ts'
import type { Locks } from '@escala/kit/locks/locks.ts'
import { createRedisLocks } from '@escala/kit/locks/redis.ts'
import { createLog, type Logger } from '@escala/kit/log/log.ts'
import { countLocks, countReads } from '@escala/kit/metrics/counted.ts'
import { type ApiParts, collectSettings, type Downloads } from '@escala/kit/module.ts'
import type { Outbox } from '@escala/kit/outbox/outbox.ts'
import { createPostgresOutbox } from '@escala/kit/outbox/postgres.ts'
import { createOverload, essentialRoutes } from '@escala/kit/overload/overload.ts'
import { hasArgon2 } from '@escala/kit/passwords/argon2id.ts'
import { createPasswords } from '@escala/kit/passwords/passwords.ts'
import { argon2idMark, createPasswordForms } from '@escala/kit/passwords/roll-out.ts'
import { type Changes, createChanges } from '@escala/kit/postgres/changes.ts'
import { createConnections } from '@escala/kit/postgres/connections.ts'
import { createPostgres, type Postgres } from '@escala/kit/postgres/postgres.ts'
import { createLogInGuard } from '@escala/kit/rate-limits/log-in-guard.ts'
import { addressKey } from '@escala/kit/rate-limits/middleware.ts'
import type { RateLimitStores } from '@escala/kit/rate-limits/rate-limits.ts'
import { createRedisRateLimits } from '@escala/kit/rate-limits/redis.ts'
import { watchRedis } from '@escala/kit/redis/facts.ts'
import { redisPrefixes } from '@escala/kit/redis/prefixes.ts'
import { createRedis, stopRedis } from '@escala/kit/redis/redis.ts'
import { fingerprintSecret } from '@escala/kit/replicas/fingerprints.ts'
import { createReplicas } from '@escala/kit/replicas/postgres.ts'
import type { Scope } from '@escala/kit/scope.ts'
import { createDeviceCookies } from '@escala/kit/sessions/device.ts'
import { createSessionMiddleware } from '@escala/kit/sessions/middleware.ts'
import { createRedisSessions } from '@escala/kit/sessions/redis.ts'
import type { SessionStore } from '@escala/kit/sessions/sessions.ts'
import { startTracing } from '@escala/kit/tracing/start.ts'
import { createPostgresUploads } from '@escala/kit/uploads/postgres.ts'
import { createS3Uploads } from '@escala/kit/uploads/s3.ts'
import type { Uploads } from '@escala/kit/uploads/uploads.ts'
import type { Redis } from 'ioredis'
import { createApp } from './app.ts'
import { type ApiConfig, apiSettings, storeTimeoutMs } from './config.ts'
import { createLimits } from './limits.ts'
import { apiMetrics } from './metrics.ts'
import { apiModules, flagsRole, migrationFolders, roles } from './modules.ts'
import { flagRoutes } from './routes/flags.ts'

/** What an adapter may need. */
export interface Deps {
  config: ApiConfig
  log: Logger
  postgres: Postgres
  /** State: `noeviction`. */
  redis: Redis
  /** May forget anything at any time. */
  cacheRedis: Redis
  /** Hears what is published on the cache Redis: nothing that may not be lost. */
  subscriber: Redis
  /** Waits at the state Redis for events. */
  reader: Redis
  /** Where each part keeps its keys. */
  prefixes: ReturnType<typeof redisPrefixes>
  /** Tells which tables have changed. */
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
  carts(deps: Deps): Carts
  cache(deps: Deps): Cache
  events(deps: Deps): Events
  uploads(deps: Deps): Uploads
  flags(deps: Deps): Flags
  /** What the server hands each request to; the application itself unless something has to come before it. */
  listener(app: RequestListener, deps: Deps): RequestListener
}

const clusterParts: Parts = {
  sessions: ({ redis, prefixes }) => createRedisSessions({ redis, prefix: prefixes.sessions }),
  rateLimits: ({ redis, prefixes }) => createRedisRateLimits({ redis, prefix: prefixes.rateLimits }),
  idempotency: ({ postgres }) => createPostgresIdempotency({ postgres }),
  outbox: () => createPostgresOutbox(),
  locks: ({ redis, log, prefixes }) => createRedisLocks({ redis, log, prefix: prefixes.locks }),
  carts: ({ redis, prefixes }) => createRedisCarts({ redis, prefix: prefixes.carts }),
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

/** The API's own variables and those of the domains that it serves. */
export const apiConfigSettings = collectSettings(apiSettings, apiModules)

/** Files that are being sent, whose clients may read slowly: each may be 2 MiB of this process's memory. */
const downloadLimits = { most: 100, mostPerClient: 32 }

export interface Api extends Composition {
  /** Known once started. */
  port(): number
  internalPort(): number
}

/** Longest time of each step of `stop`, beyond the drain: what cannot be reached ends nothing later. */
export const apiStopMs = { parts: 2000, connections: 2000, leave: 2000, internal: 1000 }

/** One replica of the API. Holds nothing at module level: it can be called many times in one process. */
export async function compose(config: Config<typeof apiConfigSettings>, replaced: Partial<Parts> = {}): Promise<Api> {
  const log = createLog({
    service: 'api',
    replicaId: config.REPLICA_ID,
    version: config.VERSION,
    level: config.LOG_LEVEL,
  })
  const tracing = await startTracing({
    endpoint: config.OTEL_EXPORTER_OTLP_ENDPOINT,
    ratio: config.OTEL_TRACES_SAMPLER_ARG,
    appName: config.APP_NAME,
    service: 'api',
    replicaId: config.REPLICA_ID,
    version: config.VERSION,
  })
  const lifecycle = createLifecycle()
  const connections = createConnections({ log })
  const changes = createChanges()
  const postgres = createPostgres({
    url: config.DATABASE_URL,
    log,
    connections,
    applicationName: config.REPLICA_ID,
    maxConnections: 1, // until the registry admits this process
    timeoutMs: config.DATABASE_TIMEOUT_MS,
    namedStatements: config.PG_NAMED_STATEMENTS,
    tracing,
  })
  const timeoutMs = config.REDIS_TIMEOUT_MS
  const redis = createRedis({ url: config.REDIS_URL, role: 'request', log, timeoutMs })
  const cacheRedis = createRedis({ url: config.CACHE_REDIS_URL, role: 'request', log, timeoutMs })
  const subscriber = createRedis({ url: config.CACHE_REDIS_URL, role: 'subscriber', log })
  const reader = createRedis({ url: config.REDIS_URL, role: 'reader', log })
  const strict = config.NODE_ENV === 'production'
  const stateWatch = watchRedis(redis, { variable: 'REDIS_URL', log, strict, keepsState: true })
  const cacheWatch = watchRedis(cacheRedis, { variable: 'CACHE_REDIS_URL', log, strict, keepsState: false })
  const declaredFlags = apiModules.flatMap((module) => module.flags ?? [])
  const prefixes = redisPrefixes(config.APP_NAME)
  const deps: Deps = { config, log, postgres, redis, cacheRedis, subscriber, reader, prefixes, changes, declaredFlags }

  const parts = { ...clusterParts, ...replaced }
  const sessions = parts.sessions(deps)
  const rateLimits = parts.rateLimits(deps)
  const given = {
    idempotency: parts.idempotency(deps),
    outbox: { scope: 'cluster' as Scope, ...parts.outbox(deps) },
    locks: countLocks(parts.locks(deps)),
    carts: parts.carts(deps),
    cache: countReads(parts.cache(deps)),
    events: parts.events(deps),
    uploads: parts.uploads(deps),
    flags: parts.flags(deps),
  }
  const { cache, events, flags } = given
  const streams = createEventStreams({
    draining: lifecycle.draining,
    maxStreams: config.MAX_STREAMS,
    maxStreamsPerClient: config.STREAMS_PER_ADDRESS,
    share: () => replicas.liveApis(),
    maxAgeMs: config.MAX_STREAM_AGE_MS,
    clientOf: addressKey,
    onOpen: (req) => overload.exempt(req),
  })
  const filePlaces = createPlaces({ ...downloadLimits, share: () => replicas.liveApis(), what: 'files' })
  const downloads: Downloads = {
    begin(req, res) {
      filePlaces.take(addressKey(req), res)
      // While a client reads, nothing is to be done, and whoever reads slowly must not stand in others' way.
      overload.exempt(req)
      // NGINX would keep what a client does not read in files: of one client so many that its disk is busy for everybody.
      res.setHeader('X-Accel-Buffering', 'no')
    },
  }
  const scopes = Object.fromEntries(
    Object.entries({ sessions, rateLimits, ...given }).map(([name, part]) => [name, part.scope]),
  )
  if (hasArgon2) scopes[argon2idMark] = 'cluster'
  const replicas = createReplicas({
    self: {
      id: config.REPLICA_ID,
      role: 'api',
      version: config.VERSION,
      scopes,
      secretFingerprints: config.SESSION_SECRETS.map(fingerprintSecret),
      schedules: [],
    },
    databaseUrl: config.DATABASE_URL,
    pool: postgres,
    connections,
    changes,
    // A proxy asks for no readiness: what has no connections must not take requests.
    onPlace: (hasPlace) => (hasPlace ? void server.accept() : server.refuse()),
    log,
    dbConnections: config.DB_CONNECTIONS,
    maxProcesses: config.MAX_PROCESSES,
    heartbeatMs: config.HEARTBEAT_MS,
    timeoutMs: config.DATABASE_TIMEOUT_MS,
    migrations: migrationFolders,
    allowProcessScope: config.ALLOW_PROCESS_SCOPE,
    allowSecretSplit: config.ALLOW_SECRET_SPLIT,
  })

  const limits = createLimits({ config, rateLimits, log, share: replicas.liveApis })
  const passwordForms = createPasswordForms({
    postgres,
    log,
    everyMs: 12 * config.HEARTBEAT_MS,
    isWanted: config.PASSWORD_HASH === 'argon2id',
  })
  const moduleParts: ApiParts = {
    ...given,
    postgres,
    log,
    streams,
    downloads,
    passwords: createPasswords({ mayWriteArgon2id: passwordForms.mayWriteArgon2id }),
    limits: {
      stores: rateLimits,
      share: replicas.liveApis,
      patienceMs: timeoutMs / 2,
      perMinute: config.RATE_LIMIT_PER_MINUTE,
    },
    logInGuard: createLogInGuard({ redis, prefix: prefixes.logIns }),
    userSessions: sessions.ofUser,
    deviceCookies: (path) => createDeviceCookies({ secrets: config.SESSION_SECRETS, path }),
  }
  const routes = [
    ...flagRoutes({ flags, role: flagsRole }),
    ...apiModules.flatMap((module) => module.routes(moduleParts, config)),
  ]
  const overload = createOverload({
    maxInFlight: config.MAX_IN_FLIGHT,
    maxDelayMs: config.MAX_LOOP_DELAY_MS,
    essential: essentialRoutes(routes),
  })
  const metrics = apiMetrics({
    config,
    postgres,
    replicas,
    limits,
    overload,
    streams,
    cache,
    locks: given.locks,
    redis: { state: redis, cache: cacheRedis },
  })
  const app = createApp({
    log,
    onRequest: metrics.request,
    tracing,
    shed: overload.middleware,
    replicaId: config.REPLICA_ID,
    exposeReplica: config.EXPOSE_REPLICA,
    deadlineMs: config.REQUEST_TIMEOUT_MS,
    trustProxy: config.TRUST_PROXY,
    version: config.VERSION,
    appName: config.APP_NAME,
    problemBaseUrl: config.PROBLEM_BASE_URL,
    sessionCookie: config.SESSION_COOKIE[0] as string,
    gate: createGate({
      session: createSessionMiddleware({
        sessions,
        secrets: config.SESSION_SECRETS,
        cookieNames: config.SESSION_COOKIE,
        onVisitor: limits.admitVisitor,
        unreadableWrites: 'go-on',
      }),
      limiters: limits.limiters,
      settle: limits.settle,
    }),
    roles,
    hasRole: hasRole(postgres),
    routes,
    downloads,
  })
  const internalApp = createInternalApp({
    lifecycle,
    degraded: () => [
      ...(redis.isAnswering() ? [] : ['redis']),
      ...(cacheRedis.isAnswering() && subscriber.isAnswering() ? [] : ['cache redis']),
      ...[cacheWatch.problem() ?? []].flat(),
      ...replicas.problems(),
      ...[cache.degraded() ?? []].flat(),
      ...(limits.degraded() ? ['rate limits count in this process'] : []),
    ],
    metrics: metrics.text,
    scale: replicas.scaleReport,
  })
  const server = createHttpServer(parts.listener(app, deps), {
    host: config.HOST,
    port: config.PORT,
    onClientError: createClientErrorAnswer(log, config.PROBLEM_BASE_URL),
    onLargeHead: createLargeHeadAnswer(log, config.PROBLEM_BASE_URL),
    refused: createRefusal(log, config.PROBLEM_BASE_URL),
    onListenError: (err) => log.error({ err }, 'cannot listen, and goes on trying'),
  })
  const internal = createHttpServer(internalApp, {
    host: config.INTERNAL_HOST,
    port: config.INTERNAL_PORT ?? (config.PORT === 0 ? 0 : config.PORT + 1000),
  })
  lifecycle.addCheck('replicas', replicas.unreadyReason)
  lifecycle.addCheck('redis', stateWatch.problem)

  return {
    log,
    port: server.port,
    internalPort: internal.port,
    async start() {
      await internal.start() // first of all: whoever waits for this replica can see why
      await stateWatch.check(lifecycle.draining)
      // The cache may be away, but not be of a kind that never works.
      await cacheWatch.check(AbortSignal.any([lifecycle.draining, AbortSignal.timeout(1000)]))
      if (lifecycle.draining.aborted) return
      await replicas.join()
      await replicas.admitted
      await flags.start()
      await passwordForms.start()
      await server.start()
      lifecycle.started()
    },
    async stop() {
      lifecycle.beginDrain()
      passwordForms.stop()
      server.beginDrain()
      await wait(config.DRAIN_DELAY_MS)
      await server.stop({ refuseMs: config.REFUSE_MS, deadlineMs: config.DRAIN_DEADLINE_MS })
      await bounded(Promise.all([cache.stop(), events.stop(), flags.stop()]), apiStopMs.parts)
      overload.stop()
      reader.disconnect()
      const connections = [
        stopRedis(redis),
        stopRedis(cacheRedis),
        stopRedis(subscriber),
        postgres.stop(),
        tracing.stop(),
      ]
      await bounded(Promise.all(connections), apiStopMs.connections)
      for (const connection of [redis, cacheRedis, subscriber]) connection.disconnect()
      await bounded(replicas.leave(), apiStopMs.leave) // last: from then on the place is another process's
      lifecycle.stopped()
      await bounded(internal.stop({ refuseMs: 0, deadlineMs: 0 }), apiStopMs.internal)
    },
  }
}
