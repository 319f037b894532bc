import { baseSteps, baseStopMs, createBase, createInternalPort, createRegistry } from '@escala/kit/composition'
import type { Config } from '@escala/kit/config/config'
import type { JobConsumer } from '@escala/kit/jobs/jobs'
import type { Composition } from '@escala/kit/lifecycle/process'
import { runSteps } from '@escala/kit/lifecycle/steps'
import { collectSettings, mergeOnce, type WorkerModule } from '@escala/kit/module'
import { kitMigrations, migrationsOf } from '@escala/kit/postgres/migrations'
import { workerSettings } from './config.ts'
import { kitJobs } from './kit-jobs.ts'
import { addWorkerMetrics } from './metrics.ts'
import { workerLanes, workerModules } from './modules.ts'
import { clusterParts, type Deps, jobsStopMs, makeParts, type Parts } from './parts.ts'

/** The worker's own variables and those of the domains that it works for. */
export const workerConfigSettings = collectSettings(workerSettings, workerModules)

export interface Worker extends Composition {
  /** Known once started. */
  internalPort(): number
}

/** Longest time of each step of `stop`, beyond the drain's deadline: what cannot be reached ends nothing later. */
export const workerStopMs = { jobs: jobsStopMs, relay: 3000, ...baseStopMs }

/** One worker: jobs, schedules, outbox relay. Holds nothing at module level: it can be called many times in one process. */
export async function compose(
  config: Config<typeof workerConfigSettings>,
  replaced: Partial<Parts> = {},
): Promise<Worker> {
  const make = { ...clusterParts, ...replaced }
  const own = make.ownSchedules()
  mergeOnce(
    'schedule',
    own.map((schedule) => ({ [schedule.id]: schedule })),
  )
  const base = await createBase(config, 'worker')
  const { log, lifecycle, postgres, redis, tracing, metrics } = base
  const blockingRedis = base.connectRedis('blocking')
  const deps: Deps = { ...base, config, blockingRedis, lanes: workerLanes() }
  const parts = makeParts(deps, make)
  const { queue, deadLetters, ...given } = parts

  const closing: (() => void)[] = [parts.mailer.stop]
  const onStop = (close: () => void) => void closing.push(close)
  const forModules = { ...given, deadLetters, postgres, tracing, log, onStop }
  const jobsOf = (module: WorkerModule) =>
    module.jobs({ ...forModules, metrics: metrics.ofModule(module.name) }, config)
  const jobs = [kitJobs(postgres), ...workerModules.map(jobsOf)]
  const handlers = mergeOnce('job', jobs)
  const declared = async () => (await replicas.list()).flatMap((process) => process.schedules)
  const schedules = make.schedules({ ...deps, queue, own, declared })
  const relay = make.relay({ ...deps, queue })
  const replicas = createRegistry(config, base, {
    scopes: { outbox: parts.outbox.scope, locks: parts.locks.scope, jobs: queue.scope, schedules: schedules.scope },
    schedules: own.map(({ id }) => id),
    pool: { grow: (connections) => postgres.grow(connections - 1) }, // one is the relay's listener
    migrations: [kitMigrations, ...workerModules.map(migrationsOf)],
  })
  addWorkerMetrics(metrics, { ...parts, postgres, lag: relay.lag, list: replicas.list })
  const internal = createInternalPort(config, base, {
    port: config.INTERNAL_PORT,
    degraded: () => [...(redis.isAnswering() && blockingRedis.isAnswering() ? [] : ['redis']), ...replicas.problems()],
    metrics: metrics.text,
    scale: replicas.scaleReport,
  })
  let waitingFor: string | undefined
  lifecycle.addCheck('heartbeat', replicas.silentReason)
  lifecycle.addCheck('start', () => waitingFor)
  let consumer: JobConsumer | undefined

  const steps = [
    ...baseSteps(base, {
      internal,
      replicas,
      waitingRedis: blockingRedis,
      beforeRedis: () => Promise.all([schedules.stop(), queue.stop(), deadLetters.stop()]),
    }),
    {
      name: 'schedules', // after the registry: what a worker puts there must be declared already
      async start() {
        waitingFor = 'waiting for Redis'
        await schedules.start()
        waitingFor = undefined
      },
    },
    // Below the jobs: what they left in the outbox may still go out with it.
    { name: 'outbox relay', start: relay.start, stop: relay.stop, stopMs: workerStopMs.relay },
    {
      name: 'modules',
      stop() {
        for (const close of closing) close()
      },
    },
    {
      name: 'jobs',
      start() {
        consumer = make.consumer({ ...deps, handlers })
      },
      stop: () => consumer?.stop(config.DRAIN_DEADLINE_MS),
    },
  ]
  return { log, internalPort: internal.port, ...runSteps(steps, { lifecycle, log }) }
}
