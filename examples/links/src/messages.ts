import type { Job } from '@escala/kit/jobs/jobs'
import { readPayload } from '@escala/kit/jobs/payload'
import { z } from 'zod'

/** Increment it when an older worker would misread the new form. */
const payloadVersion = 1

const click = z.object({ code: z.string(), id: z.string(), at: z.coerce.date() })

/** The payload as a part of a statement: `code` and `id` are expressions. */
export const clickPayload = (code: string, id: string) =>
  `json_build_object('version', ${payloadVersion}, 'code', ${code}, 'id', ${id}, 'at', now())`

export const clickOf = (job: Pick<Job, 'payload'>) => readPayload(job, click, payloadVersion)
