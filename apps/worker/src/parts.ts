import type { Breakers } from '@escala/kit/breaker/breaker'
import { createBreakers } from '@escala/kit/breaker/cockatiel'
import type { EventPublisher } from '@escala/kit/events/events'
import { createRedisPublisher } from '@escala/kit/events/redis'
import { consumerStopMs, createBullmqConsumer, createBullmqQueue } from '@escala/kit/jobs/bullmq'
import { createBullmqSchedules } from '@escala/kit/jobs/bullmq-schedules'
import { createBullmqDeadLetters } from '@escala/kit/jobs/dead-letters'
import type { DeadAggregates, JobConsumer, JobCounts, JobHandler, JobQueue, Schedule } from '@escala/kit/jobs/jobs'
import { type Lanes, laneName, schedulesLane } from '@escala/kit/jobs/queue'
import type { Schedules } from '@escala/kit/jobs/schedules'
import { countLocks } from '@escala/kit/locks/counted'
import type { Locks } from '@escala/kit/locks/locks'
import { createRedisLocks } from '@escala/kit/locks/redis'
import type { Logger } from '@escala/kit/log/log'
import type { Mailer } from '@escala/kit/mail/mail'
import { createMailCheck, createSmtpMailer, isMailServersFailure } from '@escala/kit/mail/smtp'
import type { Outbox, Relay } from '@escala/kit/outbox/outbox'
import { createPostgresOutbox } from '@escala/kit/outbox/postgres'
import { createRelay } from '@escala/kit/outbox/relay'
import type { Connections } from '@escala/kit/postgres/connections'
import { createListener } from '@escala/kit/postgres/listen'
import type { Postgres } from '@escala/kit/postgres/postgres'
import type { redisPrefixes } from '@escala/kit/redis/prefixes'
import type { Tracing } from '@escala/kit/tracing/tracing'
import type { Redis } from 'ioredis'
import type { WorkerConfig } from './config.ts'
import { kitSchedules } from './kit-jobs.ts'
import { workerModules } from './modules.ts'

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
  /** Lanes of every module's job types; the code that adds jobs and the code that consumes them must agree. */
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
  /** What this worker's code knows; reported to the others through the registry. */
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

export const clusterParts: Parts = {
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
      addsMs: config.DATABASE_TIMEOUT_MS / 4, // a third of what `migrate` lets a transaction idle for
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

/** Longest time of the consumer's `stop` beyond the drain's deadline. */
export const jobsStopMs = consumerStopMs

/** Makes what works on its own; the rest needs the registry, or begins to work at once. */
export function makeParts(deps: Deps, make: Parts) {
  const breakers = make.breakers(deps)
  return {
    outbox: make.outbox(deps),
    locks: countLocks(make.locks(deps)),
    events: make.events(deps),
    breakers,
    mailer: createMailer(deps, breakers),
    deadLetters: make.deadLetters(deps),
    queue: make.queue(deps),
  }
}

function createMailer({ config, tracing }: Deps, breakers: Breakers): Mailer {
  const smtp = { smtpUrl: config.SMTP_URL }
  return createSmtpMailer({
    ...smtp,
    connections: config.MAIL_CONNECTIONS,
    from: config.MAIL_FROM,
    breaker: breakers.of('mail', { isFailure: isMailServersFailure, check: createMailCheck(smtp) }),
    tracing,
  })
}
