import type { Job } from 'bullmq'
import type { Redis } from 'ioredis'
import type { Logger } from '../log/log.ts'
import { createScript } from '../redis/script.ts'
import type { JobData } from './queue.ts'

/** How long a schedule is left alone after the death of the worker that ran it; renewed at a third of it. */
export const oneRunMs = 4000

// A job that another worker has taken over is the same run.
const take = createScript(`
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
`)

const giveUp = createScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
`)

export interface OneRunOptions {
  redis: Redis
  /** With which the queue's own keys begin. */
  prefix: string
  log: Logger
}

/**
 * Lets one run of each schedule be under way at a time, over all workers: the next tick is planned when a run begins, so one that takes
 * longer than the period would meet its successor. A tick that comes meanwhile does nothing. This saves work and is no fence: a worker
 * that stood still for longer than `oneRunMs` goes on beside its successor.
 */
export function createOneRun({ redis, prefix, log }: OneRunOptions) {
  return async (job: Job<JobData, void>, run: () => Promise<void>): Promise<void> => {
    const { name: jobType, repeatJobKey: schedule = jobType } = job
    const jobId = job.id as string
    const key = `${prefix}:${job.queueName}:run:${schedule}`
    const lease = () => take.run(redis, [key], [jobId, oneRunMs])
    if ((await lease()) !== 1) return log.info({ schedule, jobId }, 'tick skipped: the run before it is under way')
    let renewing = false
    const timer = setInterval(async () => {
      if (renewing) return // Redis is unreachable: the command that waits already will do
      renewing = true
      await lease().catch((err) => log.warn({ err, schedule }, 'run of a schedule not renewed'))
      renewing = false
    }, oneRunMs / 3)
    try {
      await run()
    } finally {
      clearInterval(timer)
      // Its lease ends by itself.
      void giveUp
        .run(redis, [key], [jobId])
        .catch((err) => log.debug({ err, schedule }, 'run of a schedule not given up'))
    }
  }
}
