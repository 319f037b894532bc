import { setTimeout as wait } from 'node:timers/promises'
import { connectQueue, laneName, schedulesLane } from '@escala/kit/jobs/queue'
import { createLog } from '@escala/kit/log/log'
import { createRedis, stopRedis } from '@escala/kit/redis/redis'
import type { Cluster } from '@escala/testing/cluster'
import type { Replica } from '@escala/testing/replica'
import { check, defineLab, type LabContext } from '../lab.ts'
import { periodMs } from './every.ts'

interface Size {
  ticks: number
}

const workerEnv = { JOB_LOCK_MS: '1000', JOB_STALLED_MS: '500', SCHEDULES_REPAIR_MS: '500', DRAIN_DEADLINE_MS: '2000' }

export const lab = defineLab<Size>({
  slug: 'schedules',
  problem: 'The nightly job runs once per replica.',
  sizes: { full: { ticks: 60 }, test: { ticks: 20 } },
  halves: {
    problem: {
      title: (replicas) =>
        `with a timer in each of ${replicas} workers, the report is created ${replicas} times per tick`,
      async run(context) {
        const cluster = await startWorkers(context, new URL('./naive.ts', import.meta.url))
        const { ticks, runs } = await watch(context, cluster.workers)
        return [
          check('runs per tick', runs.length / ticks, { between: [context.replicas - 0.4, context.replicas + 0.4] }),
        ]
      },
    },
    fix: {
      title: (replicas) => `with one schedule for ${replicas} workers, the report is created once per tick`,
      async run(context) {
        const cluster = await startWorkers(context, new URL('./fixed.ts', import.meta.url))
        const { ticks, runs, gaps } = await watch(context, cluster.workers, () => cluster.workers[0]?.kill())
        const rollOut = await replaceWorkers(cluster)
        return [
          check('runs per tick', new Set(runs.map(({ id }) => id)).size / ticks, { between: [0.85, 1.1] }),
          check('ticks that ran twice', runs.length - new Set(runs.map(({ id }) => id)).size, { atMost: 1 }),
          check('interruptions, a worker having been killed', gaps, { atMost: 1 }),
          check('workers that created a report', new Set(runs.map(({ worker }) => worker)).size, { atLeast: 2 }),
          check('schedules while old and new workers run', rollOut.during, { equals: 'report, report-next' }),
          check('schedules when the old workers are gone', rollOut.after, { equals: 'report-next' }),
        ]
      },
    },
  },
})

function startWorkers({ cluster: start, replicas }: LabContext<Size>, parts: URL) {
  return start({ replicas: 1, workers: replicas, parts, workerEnv })
}

interface Run {
  /** Id of the job: the same for both runs of one tick with a schedule; always a different one with a timer. */
  id: string
  at: number
  worker: string
}

/** Lets the time of so many ticks pass, with something happening in the middle, and reads in the logs what the workers did. */
async function watch({ size, progress }: LabContext<Size>, workers: Replica[], inTheMiddle?: () => void) {
  const from = Date.now()
  for (let tick = 1; tick <= size.ticks; tick++) {
    await wait(from + tick * periodMs - Date.now())
    if (tick === Math.round(size.ticks / 2)) inTheMiddle?.()
    progress(tick, size.ticks)
  }
  const until = Date.now()
  await wait(periodMs) // what was begun is logged
  const runs = workers.flatMap(readRuns).filter(({ at }) => at >= from && at < until)
  return { ticks: (until - from) / periodMs, runs, gaps: countGaps(runs) }
}

function readRuns({ id: worker, logs }: Replica): Run[] {
  const lines = logs()
    .split('\n')
    .filter((line) => line.includes('"deleted old idempotency keys and outbox messages"'))
  return lines.map((line) => {
    const { jobId, time } = JSON.parse(line)
    return { id: jobId, at: Date.parse(time), worker }
  })
}

/** A schedule's job ids end in the time of their tick: neighbours are one period apart. */
function countGaps(runs: Run[]): number {
  const times = [...new Set(runs.map(({ id }) => Number(id.split(':').at(-1))))].sort((a, b) => a - b)
  return times.slice(1).filter((time, i) => time - (times[i] ?? 0) > 1.5 * periodMs).length
}

/** A roll-out: new workers come, an old one restarts in the middle of it and does not know the new schedule, the old ones go. */
async function replaceWorkers(cluster: Cluster) {
  const old = [...cluster.workers]
  await cluster.addWorker({ parts: new URL('./next.ts', import.meta.url) })
  await old[0]?.restart()
  const during = await readSchedules(cluster.redisUrl)
  await Promise.all(old.map((worker) => worker.terminate()))
  const deadline = Date.now() + 5000
  let after = during
  while (after === during && Date.now() < deadline) {
    await wait(100)
    after = await readSchedules(cluster.redisUrl)
  }
  return { during, after }
}

async function readSchedules(url: string): Promise<string> {
  const log = createLog({ service: 'lab', replicaId: 'lab', version: '', level: 'silent' })
  const redis = createRedis({ url, role: 'blocking', log })
  await redis.ping()
  const queue = connectQueue({ redis, name: laneName({}, schedulesLane) })
  const schedulers = await queue.use((bull) => bull.getJobSchedulers())
  await queue.close()
  await stopRedis(redis)
  return schedulers
    .map(({ key }) => key)
    .sort()
    .join(', ')
}
