import type { WorkerParts } from '@escala/kit/http/module.ts'
import type { Job, JobHandler } from '@escala/kit/jobs/jobs.ts'
import type { Outbox } from '@escala/kit/outbox/outbox.ts'
import { type ConfirmationMailer, readReceiver } from './confirmation.ts'
import { announceAvailability } from './live.ts'
import { orderIdOf } from './messages.ts'
import type { PaymentRequest, Payments } from './payments.ts'
import { computeSales } from './reports.ts'
import type { ShowAvailability } from './shows.ts'
import {
  beginCharge,
  expireSome,
  markFailed,
  markPaid,
  type OrderAtWork,
  reemitSome,
  settleOrder,
  takeOrder,
} from './transitions.ts'

export interface OrderJobsOptions extends Pick<WorkerParts, 'postgres' | 'events'> {
  outbox: Pick<Outbox, 'add'>
  payments: Payments
  mailer: ConfirmationMailer
  /** An order that nobody worked on for so long gets its job again. */
  stuckMs: number
}

const sweepBatch = 200

/** Each may run twice, at once too: the order's state says what is still to be done, and the peers know the order's key. */
export function orderJobs({
  postgres,
  outbox,
  events,
  payments,
  mailer,
  stuckMs,
}: OrderJobsOptions): Record<string, JobHandler> {
  const announce = async (job: Job, shows: ShowAvailability[]) => {
    await Promise.all(shows.map(({ showId, ...now }) => announceAvailability(events, job.log, showId, now)))
  }
  return {
    async 'order.charge'(job) {
      const orderId = orderIdOf(job)
      const order = await takeOrder(postgres, orderId, 'pending', 'charging')
      // An order that the breaker holds back stays `pending`, so its buyer can still cancel it. Once it is `charging`, a throw leaves
      // it so: the money may have moved, and only another try with the same key can tell.
      const outcome = order && (await payments.charge(paymentOf(order, job), () => beginCharge(postgres, orderId)))
      if (outcome === undefined) return job.log.info({ orderId }, 'nothing to charge')
      if (outcome.status === 'declined') await announce(job, await markFailed(postgres, orderId))
      else await markPaid(postgres, outbox, orderId, outcome.id, job.traceparent)
      job.log.info({ orderId, outcome: outcome.status }, 'order charged')
    },

    async 'order.mail'(job) {
      const order = await takeOrder(postgres, orderIdOf(job), 'paid')
      if (order === undefined) return job.log.info({ orderId: orderIdOf(job) }, 'nothing to confirm')
      const receiver = await readReceiver(postgres, order.id)
      if (receiver) await mailer.send({ ...order, orderId: order.id, ...receiver, traceparent: job.traceparent })
      else job.log.info({ orderId: order.id }, 'no mail: its user was deleted')
      await settleOrder(postgres, order.id, 'paid', 'confirmed')
      job.log.info({ orderId: order.id }, 'order confirmed')
    },

    async 'order.refund'(job) {
      const order = await takeOrder(postgres, orderIdOf(job), 'refunding')
      if (order === undefined) return job.log.info({ orderId: orderIdOf(job) }, 'nothing to refund')
      const outcome = await payments.refund(paymentOf(order, job))
      if (outcome.status === 'declined') throw new Error('the payment provider refused to refund')
      await settleOrder(postgres, order.id, 'refunding', 'cancelled')
      job.log.info({ orderId: order.id }, 'order refunded')
    },

    async 'orders.sweep'(job) {
      const expired = await repeat(job, async () => {
        const { expired, shows } = await expireSome(postgres, sweepBatch)
        await announce(job, shows)
        return expired
      })
      const emitted = await repeat(job, () => reemitSome(postgres, outbox, stuckMs, sweepBatch))
      if (expired + emitted > 0) job.log.info({ expired, emitted }, 'orders swept')
    },

    async 'reports.sales'(job) {
      const reports = await computeSales(postgres)
      job.log.info({ reports }, 'sales report computed')
    },
  }
}

function paymentOf(order: OrderAtWork, job: Job): PaymentRequest {
  const { id, number, totalCents, currency, requestId } = order
  const { signal, traceparent } = job
  return { key: id, reference: String(number), amountCents: totalCents, currency, requestId, traceparent, signal }
}

/** Batch after batch until one is not full: no statement locks many rows, and no transaction is long. */
async function repeat(job: Job, batch: () => Promise<number>): Promise<number> {
  let total = 0
  for (let done = sweepBatch; done === sweepBatch && !job.signal.aborted; total += done) done = await batch()
  return total
}
