import type { Job } from '@escala/kit/jobs/jobs'
import { readPayload } from '@escala/kit/jobs/payload'
import type { OutboxMessage } from '@escala/kit/outbox/outbox'
import { z } from 'zod'

/**
 * Version of the payloads written here; also the newest version this code can read. Increment it when an older worker would get the new form wrong,
 * and let the schema take both: a payload of the old form may wait for as long as its order does. A field more needs no new version.
 */
export const payloadVersion = 1
const payload = z.object({ orderId: z.uuid() })
// By the sweep: an earlier job of the order may have had an unrecorded effect.
const repeated = z.object({ again: z.boolean().default(false) })

export const chargeMessage = about('order.charge')
export const mailMessage = about('order.mail')

/** Returns the order that a job is about, and whether nothing can have been done for it by an earlier run or job. */
export function orderOf(job: Pick<Job, 'payload' | 'isFirstTry'>): { orderId: string; isFirst: boolean } {
  const orderId = readPayload(job, payload, payloadVersion).orderId
  const { again } = readPayload(job, repeated, payloadVersion)
  return { orderId, isFirst: job.isFirstTry && !again }
}

/** The payload as a part of a statement: `orderId` is an expression. */
export const payloadSql = (orderId: string, again = false) =>
  `json_build_object('version', ${payloadVersion}, 'orderId', ${orderId}${again ? `, 'again', true` : ''})`

function about(type: string) {
  return (orderId: string, requestId: string, traceparent?: string): OutboxMessage => ({
    type,
    aggregate: orderId,
    payload: { version: payloadVersion, orderId },
    requestId,
    traceparent,
  })
}
