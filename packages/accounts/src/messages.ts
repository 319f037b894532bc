import type { Job } from '@escala/kit/jobs/jobs'
import { readPayload } from '@escala/kit/jobs/payload'
import type { Outbox } from '@escala/kit/outbox/outbox'
import type { Sql } from '@escala/kit/postgres/postgres'
import { v7 } from 'uuid'
import { z } from 'zod'
import type { Purpose } from './codes.ts'

/** Version of the payloads written here, and the newest that this code can read. */
export const payloadVersion = 1
const payload = z.object({ userId: z.uuid(), purpose: z.enum(['password-reset', 'email-verification']) })

export interface Cause {
  requestId: string
  traceparent: string | undefined
}

const farewell = z.object({ farewellId: z.uuid() })

/** The job that confirms the deletion of an account. */
export const farewellType = 'account.deleted'

/** Returns where the job finds the address of the deleted account, which is in no queue. */
export function farewellOf(job: Pick<Job, 'payload'>): string {
  return readPayload(job, farewell, payloadVersion).farewellId
}

/** Returns whom a job's mail is for, and what it lets them do. The secret is made by the job: it is in no queue. */
export function mailOf(job: Pick<Job, 'payload'>) {
  return readPayload(job, payload, payloadVersion)
}

/**
 * Asks for a mail to the account of this address. One statement that does the same work when there is none, for a user who does
 * not exist: neither the response nor its timing reveals whether the address is known.
 */
export async function requestReset(sql: Sql, outbox: Outbox, email: string, cause: Cause): Promise<void> {
  const text = outbox.insert(`SELECT 'account.mail', receiver.id::text,
      json_build_object('version', ${payloadVersion}, 'userId', receiver.id, 'purpose', 'password-reset'), $3::text, $4::text
    FROM (SELECT coalesce((SELECT id FROM users WHERE lower(email) = lower($1)), $2::uuid) AS id) AS receiver`)
  await sql.query({ name: 'users.requestReset', text }, [email, v7(), cause.requestId, cause.traceparent ?? null])
}

/** Asks for a mail to this user. */
export async function requestMail(sql: Sql, outbox: Outbox, userId: string, purpose: Purpose, cause: Cause) {
  await outbox.add(sql, {
    type: 'account.mail',
    aggregate: userId,
    payload: { version: payloadVersion, userId, purpose },
    ...cause,
  })
}
