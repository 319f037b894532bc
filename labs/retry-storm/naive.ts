import type { Breaker, BreakerCall } from '@escala/kit/breaker/breaker'
import { createBullmqQueue } from '@escala/kit/jobs/bullmq'
import type { Parts } from '../../apps/worker/src/parts.ts'

const tries = 3

/** What an HTTP client does that is set to retry. */
const patient = {
  async run<T>(call: () => Promise<T>, { begin }: BreakerCall = {}) {
    if ((await begin?.()) === false) return undefined
    for (let left = tries - 1; ; left--) {
      try {
        return await call()
      } catch (error) {
        if (left === 0) throw error
      }
    }
  },
} as Breaker

/** A charge must not be lost, so every layer that notices a failure repeats: the client three times, the queue each of its attempts. */
export const workerParts: Partial<Parts> = {
  breakers: () => ({ of: () => patient, states: () => ({}) }),
  queue: ({ redis, lanes, config }) => createBullmqQueue({ redis, lanes, attempts: config.JOB_ATTEMPTS, backoffMs: 0 }),
}
