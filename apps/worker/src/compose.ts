import type { Breakers } from '@escala/kit/breaker/breaker.ts'
import { createBreakers } from '@escala/kit/breaker/cockatiel.ts'
import type { Config } from '@escala/kit/config/config.ts'
import type { EventPublisher } from '@escala/kit/events/events.ts'
import { createRedisPublisher } from '@escala/kit/events/redis.ts'
import { createInternalApp } from '@escala/kit/http/internal.ts'
import { consumerStopMs, createBullmqConsumer, createBullmqQueue } from '@escala/kit/jobs/bullmq.ts'
import { createBullmqDeadLetters } from '@escala/kit/jobs/dead-letters.ts'
import type { DeadAggregates, JobConsumer, JobCounts, JobHandler, JobQueue, Schedule } from '@escala/kit/jobs/jobs.ts'
import { type Lanes, laneName, schedulesLane } from '@escala/kit/jobs/queue.ts'
import { bounded } from '@escala/kit/lifecycle/bounded.ts'
import { createHttpServer } from '@escala/kit/lifecycle/http-server.ts'
import { createLifecycle } from '@escala/kit/lifecycle/lifecycle.ts'
import type { Composition } from '@escala/kit/lifecycle/process.ts'
import type { Locks } from '@escala/kit/locks/locks.ts'
import { createRedisLocks } from '@escala/kit/locks/redis.ts'
import { createLog, type Logger } from '@escala/kit/log/log.ts'
import { countLocks } from '@escala/kit/metrics/counted.ts'
import { collectSettings } from '@escala/kit/module.ts'
import type { Outbox, Relay } from '@escala/kit/outbox/outbox.ts'
import { createPostgresOutbox } from '@escala/kit/outbox/postgres.ts'
import { createRelay } from '@escala/kit/outbox/relay.ts'
import { type Connections, createConnections } from '@escala/kit/postgres/connections.ts'
import { createListener } from '@escala/kit/postgres/listen.ts'
import { kitMigrations, migrationsOf } from '@escala/kit/postgres/migrations.ts'
import { createPostgres, type Postgres } from '@escala/kit/postgres/postgres.ts'
import { watchRedis } from '@escala/kit/redis/facts.ts'
import { redisPrefixes } from '@escala/kit/redis/prefixes.ts'
import { createRedis, stopRedis } from '@escala/kit/redis/redis.ts'
import { createReplicas } from '@escala/kit/replicas/postgres.ts'
import { createBullmqSchedules } from '@escala/kit/schedules/bullmq.ts'
import type { Schedules } from '@escala/kit/schedules/schedules.ts'
import type { Scope } from '@escala/kit/scope.ts'
import { startTracing } from '@escala/kit/tracing/start.ts'
import type { Tracing } from '@escala/kit/tracing/tracing.ts'
import type { Redis } from 'ioredis'
import { kitJobs, kitSchedules } from './clean.ts'
import { type WorkerConfig, workerSettings } from './config.ts'
import { workerMetrics } from './metrics.ts'
import { workerLanes, workerModules } from './modules.ts'

/** What an adapter may need. */
export interface Deps {
  config: WorkerConfig
  log: Logger
  postgres: Postgres
  /** What the connections of this process share. */
  connections: Connections
  /** State: `noeviction`. Fails in time. */
  redis: Redis
  /** The same server; waits for it. */
  blockingRedis: Redis
  tracing: Tracing
  /** Where each part keeps its keys. */
  prefixes: ReturnType<typeof redisPrefixes>
  /** Of every module's job types: whoever adds and whoever consumes must agree on them. */
  lanes: Lanes
}

export interface Queue extends JobQueue {
  counts(): Promise<JobCounts>
  oldestMs(): Promise<number>
}

/** The parts that can be replaced: each is made of what it may need. This is the one place that picks adapters. */
export interface Parts {
  outbox(deps: Deps): Outbox
  locks(deps: Deps): Locks
  events(deps: Deps): EventPublisher
  breakers(deps: Deps): Breakers
  /** What this worker's code knows: it is told to the others. */
  ownSchedules(): Schedule[]
  queue(deps: Deps): Queue
  deadLetters(deps: Deps): DeadAggregates & { stop(): Promise<void> }
  relay(deps: Deps & { queue: Queue }): Relay
  schedules(deps: Deps & { queue: Queue; own: Schedule[]; declared(): Promise<string[]> }): Schedules
  /** Made last: it begins to work at once. */
  consumer(deps: Deps & { handlers: Record<string, JobHandler> }): JobConsumer
}

const jobPolicy = ({ JOB_ATTEMPTS, JOB_BACKOFF_MS }: WorkerConfig) => ({
  attempts: JOB_ATTEMPTS,
  backoffMs: JOB_BACKOFF_MS,
})

const clusterParts: Parts = {
  outbox: () => createPostgresOutbox(),
  locks: ({ redis, log, prefixes }) => createRedisLocks({ redis, log, prefix: prefixes.locks }),
  events: ({ redis, prefixes }) => createRedisPublisher({ redis, prefix: prefixes.events }),
  breakers: ({ log, config }) =>
    createBreakers({ log, failures: config.BREAKER_FAILURES, openMs: config.BREAKER_OPEN_MS }),
  ownSchedules: () => [...kitSchedules, ...workerModules.flatMap((module) => module.schedules)],
  queue: ({ redis, lanes, config, prefixes }) =>
    createBullmqQueue({ redis, lanes, prefix: prefixes.jobs, ...jobPolicy(config) }),
  deadLetters: ({ redis, lanes, prefixes }) => createBullmqDeadLetters({ redis, lanes, prefix: prefixes.jobs }),
  relay: ({ postgres, connections, queue, log, config }) =>
    createRelay({
      postgres,
      queue,
      log,
      pollMs: config.OUTBOX_POLL_MS,
      listen: (wake) =>
        createListener({
          url: config.DATABASE_URL,
          applicationName: `${config.REPLICA_ID} listener`,
          log,
          connections,
          channels: { outbox: wake },
          onConnect: wake,
        }),
    }),
  schedules: ({ redis, log, own, declared, config, prefixes }) =>
    createBullmqSchedules({
      redis,
      prefix: prefixes.jobs,
      name: laneName({}, schedulesLane),
      log,
      own,
      declared,
      repairMs: config.SCHEDULES_REPAIR_MS,
      ...jobPolicy(config),
    }),
  consumer: ({ blockingRedis: redis, log, tracing, lanes, handlers, connections, config, prefixes }) =>
    createBullmqConsumer({
      redis,
      prefix: prefixes.jobs,
      log,
      lanes,
      tracing,
      handlers,
      concurrency: config.JOB_CONCURRENCY,
      lockMs: config.JOB_LOCK_MS,
      stalledMs: config.JOB_STALLED_MS,
      place: connections,
    }),
}

/** The worker's own variables and those of the domains that it works for. */
export const workerConfigSettings = collectSettings(workerSettings, workerModules)

export interface Worker extends Composition {
  /** Known once started. */
  internalPort(): number
}

/** Longest time of each step of `stop`, beyond the drain's deadline: what cannot be reached ends nothing later. */
export const workerStopMs = { jobs: consumerStopMs, relay: 3000, connections: 2000, leave: 2000, internal: 1000 }

/** One worker: jobs, schedules, outbox relay. Holds nothing at module level: it can be called many times in one process. */
export async function compose(
  config: Config<typeof workerConfigSettings>,
  replaced: Partial<Parts> = {},
): Promise<Worker> {
  const { REPLICA_ID, VERSION, DATABASE_URL, REDIS_URL } = config
  const log = createLog({ service: 'worker', replicaId: REPLICA_ID, version: VERSION, level: config.LOG_LEVEL })
  const tracing = await startTracing({
    endpoint: config.OTEL_EXPORTER_OTLP_ENDPOINT,
    ratio: config.OTEL_TRACES_SAMPLER_ARG,
    appName: config.APP_NAME,
    service: 'worker',
    replicaId: REPLICA_ID,
    version: VERSION,
  })
  const lifecycle = createLifecycle()
  const connections = createConnections({ log })
  const postgres = createPostgres({
    url: DATABASE_URL,
    log,
    connections,
    applicationName: REPLICA_ID,
    maxConnections: 1, // until the registry admits this process
    timeoutMs: config.DATABASE_TIMEOUT_MS,
    namedStatements: config.PG_NAMED_STATEMENTS,
    tracing,
  })
  const redis = createRedis({ url: REDIS_URL, role: 'request', log, timeoutMs: config.REDIS_TIMEOUT_MS })
  const blockingRedis = createRedis({ url: REDIS_URL, role: 'blocking', log })
  const lanes = workerLanes()
  const prefixes = redisPrefixes(config.APP_NAME)
  const deps: Deps = { config, log, postgres, connections, redis, blockingRedis, tracing, prefixes, lanes }

  const parts = { ...clusterParts, ...replaced }
  const own = parts.ownSchedules()
  const queue = parts.queue(deps)
  const deadLetters = parts.deadLetters(deps)
  const given = {
    outbox: parts.outbox(deps),
    locks: countLocks(parts.locks(deps)),
    events: parts.events(deps),
    breakers: parts.breakers(deps),
    deadLetters,
    tracing,
  }
  const closing: (() => void)[] = []
  const onStop = (close: () => void) => void closing.push(close)
  const handlers = Object.assign(
    kitJobs(postgres),
    ...workerModules.map((module) => module.jobs({ postgres, log, onStop, ...given }, config)),
  )
  const declared = async () => (await replicas.list()).flatMap(({ schedules }) => schedules)
  const schedules = parts.schedules({ ...deps, queue, own, declared })
  const relay = parts.relay({ ...deps, queue })
  const scopes = { outbox: 'cluster' as Scope, locks: given.locks.scope, jobs: queue.scope, schedules: schedules.scope }
  const replicas = createReplicas({
    self: {
      id: REPLICA_ID,
      role: 'worker',
      version: VERSION,
      scopes,
      secretFingerprints: [],
      schedules: own.map(({ id }) => id),
    },
    databaseUrl: DATABASE_URL,
    pool: { grow: (connections) => postgres.grow(connections - 1) }, // one is the relay's listener
    connections,
    log,
    dbConnections: config.DB_CONNECTIONS,
    maxProcesses: config.MAX_PROCESSES,
    heartbeatMs: config.HEARTBEAT_MS,
    timeoutMs: config.DATABASE_TIMEOUT_MS,
    migrations: [kitMigrations, ...workerModules.map(migrationsOf)],
    allowProcessScope: config.ALLOW_PROCESS_SCOPE,
  })
  let waitingFor: string | undefined
  const strict = config.NODE_ENV === 'production'
  const stateWatch = watchRedis(redis, { variable: 'REDIS_URL', log, strict, keepsState: true })
  lifecycle.addCheck('replicas', replicas.unreadyReason)
  lifecycle.addCheck('heartbeat', replicas.silentReason)
  lifecycle.addCheck('redis', stateWatch.problem)
  lifecycle.addCheck('start', () => waitingFor)

  const metrics = workerMetrics({
    config,
    postgres,
    queue,
    lag: relay.lag,
    breakers: given.breakers,
    locks: given.locks,
    list: replicas.list,
  })
  const internalApp = createInternalApp({
    lifecycle,
    degraded: () => [...(redis.isAnswering() && blockingRedis.isAnswering() ? [] : ['redis']), ...replicas.problems()],
    metrics: metrics.text,
    scale: replicas.scaleReport,
  })
  const internal = createHttpServer(internalApp, { host: config.INTERNAL_HOST, port: config.INTERNAL_PORT })
  let consumer: JobConsumer | undefined

  return {
    log,
    internalPort: internal.port,
    async start() {
      await internal.start() // first of all: whoever waits for this worker can see why
      await stateWatch.check(lifecycle.draining)
      if (lifecycle.draining.aborted) return
      await replicas.join()
      await replicas.admitted
      waitingFor = 'waiting for Redis'
      await schedules.start() // after joining: what a worker puts there must be declared already
      waitingFor = undefined
      if (lifecycle.draining.aborted) return
      relay.start()
      consumer = parts.consumer({ ...deps, handlers })
      lifecycle.started()
    },
    async stop() {
      lifecycle.beginDrain()
      const { relay: relayMs, connections: connectionsMs, leave: leaveMs } = workerStopMs
      const jobs = consumer?.stop(config.DRAIN_DEADLINE_MS)
      await Promise.all([jobs, bounded(schedules.stop(), connectionsMs)])
      for (const close of closing) close()
      await bounded(relay.stop(), relayMs) // after the jobs: what they left in the outbox may still go out with it
      blockingRedis.disconnect()
      const queues = Promise.all([queue.stop(), deadLetters.stop()]).finally(() => stopRedis(redis))
      await bounded(Promise.all([queues, postgres.stop(), tracing.stop()]), connectionsMs)
      redis.disconnect()
      await bounded(replicas.leave(), leaveMs) // last: from then on the place is another process's
      lifecycle.stopped()
      await bounded(internal.stop({ refuseMs: 0, deadlineMs: 0 }), workerStopMs.internal)
    },
  }
}
