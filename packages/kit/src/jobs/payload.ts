import { z } from 'zod'
import { kitErrors } from '../errors/errors.ts'
import { type Job, PermanentFailure } from './jobs.ts'

const versioned = z.looseObject({ version: z.int().min(1).default(1) })

/**
 * A job's payload, checked. `newest` is the highest `version` in a payload that this code can read; a payload without one is of
 * version 1. Throws `E_JOB_TOO_NEW` for a later one, which leaves the job for a newer worker; for one that does not fit, a permanent
 * failure. Let the schema take every version that may still wait somewhere, and let unknown fields pass: a field more is no new version.
 */
export function readPayload<S extends z.ZodType>(job: Pick<Job, 'payload'>, schema: S, newest = 1): z.output<S> {
  const { data } = versioned.safeParse(job.payload)
  if (data && data.version > newest) {
    const detail = `its payload is of version ${data.version}, and this worker reads up to ${newest}`
    throw kitErrors.E_JOB_TOO_NEW({ detail, retryAfterMs: 1000 })
  }
  const parsed = schema.safeParse(job.payload)
  if (!parsed.success)
    throw new PermanentFailure('the payload is not what the handler expects', { cause: parsed.error })
  return parsed.data
}
