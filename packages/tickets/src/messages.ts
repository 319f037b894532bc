import { PermanentFailure } from '@escala/kit/jobs/jobs.ts'
import type { OutboxMessage } from '@escala/kit/outbox/outbox.ts'
import { z } from 'zod'

// A newer API may say more than an older worker knows: unknown fields are let through, never refused.
const payload = z.object({ orderId: z.uuid() })

export const chargeMessage = about('order.charge')
export const mailMessage = about('order.mail')
export const refundMessage = about('order.refund')

/** The order that a job is about. */
export function orderIdOf(job: { payload: unknown }): string {
  const parsed = payload.safeParse(job.payload)
  if (!parsed.success) throw new PermanentFailure('the payload names no order', { cause: parsed.error })
  return parsed.data.orderId
}

function about(type: string) {
  return (orderId: string, requestId: string): OutboxMessage => ({
    type,
    aggregate: orderId,
    payload: { orderId },
    requestId,
  })
}
