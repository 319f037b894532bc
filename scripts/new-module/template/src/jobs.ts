import type { JobHandler } from '@escala/kit/jobs/jobs'
import { readPayload } from '@escala/kit/jobs/payload'
import type { WorkerParts } from '@escala/kit/module'
import { z } from 'zod'
import { processItem } from './items.ts'

const payload = z.object({ id: z.uuid() })

/** Does what need not happen before the response. Runs at least once, so its effect must be idempotent. */
export function createdJob({ postgres }: Pick<WorkerParts, 'postgres'>): JobHandler {
  return async (job) => {
    const { id } = readPayload(job, payload)
    const isFirst = await processItem(postgres, id)
    job.log.info({ id, isFirst }, 'item processed')
  }
}
