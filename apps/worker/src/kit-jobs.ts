import { cleanIdempotencyKeys } from '@escala/kit/idempotency/delete-old-keys'
import type { JobHandler, Schedule } from '@escala/kit/jobs/jobs'
import { cleanOutbox } from '@escala/kit/outbox/delete-published'
import type { Postgres } from '@escala/kit/postgres/postgres'

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
