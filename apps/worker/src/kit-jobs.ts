import { cleanIdempotencyKeys } from '@escala/kit/idempotency/delete-old-keys.ts'
import type { JobHandler, Schedule } from '@escala/kit/jobs/jobs.ts'
import { cleanOutbox } from '@escala/kit/outbox/delete-published.ts'
import type { Postgres } from '@escala/kit/postgres/postgres.ts'

/** What the kit itself has to do from time to time. */
export const kitSchedules: Schedule[] = [{ id: 'kit-clean', type: 'kit.clean', every: { ms: 600_000 } }]

export function kitJobs(postgres: Postgres): Record<string, JobHandler> {
  return {
    async 'kit.clean'(job) {
      const keys = await cleanIdempotencyKeys(postgres)
      const messages = await cleanOutbox(postgres)
      job.log.info({ keys, messages }, 'deleted old idempotency keys and outbox messages')
    },
  }
}
