import type { baseSettings } from './config/base.ts'
import type { Config } from './config/config.ts'
import { createInternalApp, type InternalOptions } from './http/internal.ts'
import { createHttpServer } from './lifecycle/http-server.ts'
import { openInspector } from './lifecycle/inspector.ts'
import { createLifecycle, type Lifecycle } from './lifecycle/lifecycle.ts'
import type { Step } from './lifecycle/steps.ts'
import { createLog, type Logger } from './log/log.ts'
import { createMetrics, type Metrics } from './metrics/metrics.ts'
import { type Changes, createChanges } from './postgres/changes.ts'
import { type Connections, createConnections } from './postgres/connections.ts'
import { createPostgres, type Postgres } from './postgres/postgres.ts'
import { redisPrefixes } from './redis/prefixes.ts'
import { createRedis, type RedisConnection, type RedisRole, stopRedis } from './redis/redis.ts'
import { type RedisWatch, watchRedis } from './redis/watch.ts'
import { createReplicas, type ReplicasOptions } from './replicas/postgres.ts'
import type { Role, Self } from './replicas/replica.ts'
import type { Replicas } from './replicas/replicas.ts'
import { startTracing } from './tracing/start.ts'
import type { Tracing } from './tracing/tracing.ts'

type BaseConfig = Config<typeof baseSettings>

/** What every process has, whatever it does. */
export interface Base {
  role: Role
  log: Logger
  tracing: Tracing
  metrics: Metrics
  lifecycle: Lifecycle
  postgres: Postgres
  /** What the connections of this process share. */
  connections: Connections
  /** Reports which tables have changed. */
  changes: Changes
  /** State: `noeviction`. Fails in time. */
  redis: RedisConnection
  /** Another connection to the state Redis, or to the cache Redis. */
  connectRedis(role: RedisRole, url?: string): RedisConnection
  watchRedis(redis: RedisConnection, variable: string, keepsState: boolean): RedisWatch
  stateWatch: RedisWatch
  /** Where each part keeps its keys. */
  prefixes: ReturnType<typeof redisPrefixes>
}

/** Connects nothing that a process does not need to find out whether it may serve. */
export async function createBase(config: BaseConfig, role: Role): Promise<Base> {
  const { REPLICA_ID: replicaId, VERSION: version, APP_NAME: appName } = config
  const log = createLog({ service: role, replicaId, version, level: config.LOG_LEVEL })
  const tracing = await startTracing({
    endpoint: config.OTEL_EXPORTER_OTLP_ENDPOINT,
    ratio: config.OTEL_TRACES_SAMPLER_ARG,
    appName,
    service: role,
    replicaId,
    version,
  })
  const metrics = createMetrics({ appName, service: role, replica: replicaId, version })
  const lifecycle = createLifecycle()
  const connections = createConnections({ log })
  const changes = createChanges()
  const postgres = createPostgres({
    url: config.DATABASE_URL,
    log,
    connections,
    applicationName: replicaId,
    maxConnections: 1, // until the registry admits this process
    timeoutMs: config.DATABASE_TIMEOUT_MS,
    namedStatements: config.PG_NAMED_STATEMENTS,
    tracing,
  })
  const connectRedis = (redisRole: RedisRole, url = config.REDIS_URL) =>
    createRedis({ url, role: redisRole, log, timeoutMs: config.REDIS_TIMEOUT_MS })
  const strict = config.NODE_ENV === 'production'
  const watch = (redis: RedisConnection, variable: string, keepsState: boolean) =>
    watchRedis(redis, { variable, log, strict, keepsState })
  const redis = connectRedis('request')
  const stateWatch = watch(redis, 'REDIS_URL', true)
  lifecycle.addCheck('redis', stateWatch.problem)
  const prefixes = redisPrefixes(appName)
  return {
    role,
    log,
    tracing,
    metrics,
    lifecycle,
    postgres,
    connections,
    changes,
    redis,
    connectRedis,
    watchRedis: watch,
    stateWatch,
    prefixes,
  }
}

type RegistryOptions = Pick<Self, 'scopes'> &
  Partial<Pick<Self, 'secretFingerprints' | 'schedules'>> &
  Pick<ReplicasOptions, 'pool' | 'onPlace' | 'migrations' | 'allowSecretSplit'>

/** This process's place among the others. */
export function createRegistry(config: BaseConfig, base: Base, options: RegistryOptions): Replicas {
  const { scopes, secretFingerprints = [], schedules = [], ...more } = options
  const replicas = createReplicas({
    ...more,
    self: { id: config.REPLICA_ID, role: base.role, version: config.VERSION, scopes, secretFingerprints, schedules },
    databaseUrl: config.DATABASE_URL,
    connections: base.connections,
    changes: base.changes,
    log: base.log,
    dbConnections: config.DB_CONNECTIONS,
    maxProcesses: config.MAX_PROCESSES,
    heartbeatMs: config.HEARTBEAT_MS,
    timeoutMs: config.DATABASE_TIMEOUT_MS,
    namedStatements: config.PG_NAMED_STATEMENTS,
    allowProcessScope: config.ALLOW_PROCESS_SCOPE,
  })
  base.lifecycle.addCheck('replicas', replicas.unreadyReason)
  return replicas
}

/** The port for operators: the first thing that starts, so that they can see why a process is not ready, and the last that stops. */
export function createInternalPort(
  config: BaseConfig,
  { lifecycle, log }: Base,
  { port, ...options }: Omit<InternalOptions, 'lifecycle'> & { port: number },
) {
  const server = createHttpServer(createInternalApp({ ...options, lifecycle }), { host: config.INTERNAL_HOST, port })
  return {
    ...server,
    async start() {
      await server.start()
      if (config.INSPECT) openInspector(server.port(), log)
    },
  }
}

/** Longest time that each of the steps which every process has takes to stop. */
export const baseStopMs = { connections: 2000, leave: 2000, internal: 1000 }

export interface BaseSteps {
  internal: ReturnType<typeof createInternalPort>
  replicas: Replicas
  /** Looks at further servers before this process takes a place. */
  check?(): Promise<void>
  /** Connections to Redis of this process alone. */
  redis?: RedisConnection[]
  /** Those that wait at the server, and would answer late. */
  waitingRedis: RedisConnection
  /** Ends what works over the state Redis, before its connection is closed. */
  beforeRedis?(): Promise<unknown>
}

/** The first steps of every process: it must be seen, know its servers and have its place before anything else starts. */
export function baseSteps(
  base: Base,
  { internal, replicas, check, redis = [], waitingRedis, beforeRedis }: BaseSteps,
): Step[] {
  const { lifecycle, stateWatch, postgres, tracing } = base
  const all = [base.redis, ...redis]
  return [
    {
      name: 'internal port',
      start: internal.start,
      stop() {
        lifecycle.stopped()
        return internal.stop({ refuseMs: 0, deadlineMs: 0 })
      },
      stopMs: baseStopMs.internal,
    },
    { name: 'state Redis', start: () => stateWatch.check(lifecycle.draining) },
    { name: 'other servers', start: check },
    {
      name: 'registry',
      async start() {
        await replicas.join()
        await replicas.admitted
      },
      stop: replicas.leave, // after the connections: from then on the place is another process's
      stopMs: baseStopMs.leave,
    },
    {
      name: 'connections',
      stop: {
        redis: async () => {
          waitingRedis.disconnect()
          try {
            await beforeRedis?.()
          } finally {
            await Promise.all(all.map(stopRedis))
          }
        },
        postgres: postgres.stop,
        tracing: tracing.stop,
      },
      stopMs: baseStopMs.connections,
      cut: () => {
        for (const connection of all) connection.disconnect()
      },
    },
  ]
}
