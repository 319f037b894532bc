import type { Job } from '@escala/kit/jobs/jobs.ts'
import { readPayload } from '@escala/kit/jobs/payload.ts'
import type { OutboxMessage } from '@escala/kit/outbox/outbox.ts'
import { z } from 'zod'

/**
 * Of the payloads that this code writes, and the newest that it reads. Count it up when an older worker would get the new form wrong,
 * and let the schema take both: a payload of the old form may wait for as long as its order does. A field more needs no new version.
 */
export const payloadVersion = 1
const payload = z.object({ orderId: z.uuid() })

export const chargeMessage = about('order.charge')
export const mailMessage = about('order.mail')
export const refundMessage = about('order.refund')

/** The order that a job is about. */
export function orderIdOf(job: Pick<Job, 'payload'>): string {
  return readPayload(job, payload, payloadVersion).orderId
}

/** The payload as a part of a statement: `orderId` is an expression. */
export const payloadSql = (orderId: string) => `json_build_object('version', ${payloadVersion}, 'orderId', ${orderId})`

function about(type: string) {
  return (orderId: string, requestId: string, traceparent?: string): OutboxMessage => ({
    type,
    aggregate: orderId,
    payload: { version: payloadVersion, orderId },
    requestId,
    traceparent,
  })
}
