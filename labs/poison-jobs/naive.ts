import { setTimeout as wait } from 'node:timers/promises'
import { createBullmqConsumer } from '@escala/kit/jobs/bullmq'
import type { JobHandler } from '@escala/kit/jobs/jobs'
import type { Parts } from '../../apps/worker/src/parts.ts'

/** A job must not be lost, so it is tried until it works. */
const forEver =
  (handler: JobHandler): JobHandler =>
  async (job) => {
    for (;;) {
      try {
        return await handler(job)
      } catch (err) {
        job.log.warn({ err }, 'trying again')
        await wait(100)
      }
    }
  }

export const workerParts: Partial<Parts> = {
  consumer: ({ blockingRedis: redis, log, lanes, handlers, config }) =>
    createBullmqConsumer({
      redis,
      log,
      lanes,
      concurrency: config.JOB_CONCURRENCY,
      handlers: Object.fromEntries(Object.entries(handlers).map(([type, handler]) => [type, forEver(handler)])),
    }),
}
