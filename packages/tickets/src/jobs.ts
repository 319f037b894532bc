import type { Job, JobHandler } from '@escala/kit/jobs/jobs.ts'
import type { WorkerParts } from '@escala/kit/module.ts'
import type { Outbox } from '@escala/kit/outbox/outbox.ts'
import { chargeJob, refundOrder } from './charging.ts'
import { type ConfirmationMailer, readReceiver } from './confirmation.ts'
import { announceAvailability } from './live.ts'
import { orderOf } from './messages.ts'
import type { Payments } from './payments.ts'
import { computeSales } from './reports.ts'
import type { ShowAvailability } from './shows.ts'
import { expireSome, reemitSome, settleOrder, takeOrder } from './transitions.ts'

export interface OrderJobsOptions extends Pick<WorkerParts, 'postgres' | 'events' | 'deadLetters'> {
  outbox: Pick<Outbox, 'add' | 'insert'>
  payments: Payments
  mailer: ConfirmationMailer
  /** An order that nobody worked on for so long gets its job again. */
  stuckMs: number
}

const sweepBatch = 200

/** Each may run twice, at once too: the order's state says what is still to be done, and the peers know the order's key. */
export function orderJobs(options: OrderJobsOptions): Record<string, JobHandler> {
  const { postgres, outbox, events, deadLetters, payments, mailer, stuckMs } = options
  const announce = async (job: Job, shows: ShowAvailability[]) => {
    await Promise.all(shows.map(({ showId, ...now }) => announceAvailability(events, job.log, showId, now)))
  }
  return {
    'order.charge': chargeJob({ postgres, outbox, payments, announce }),

    async 'order.mail'(job) {
      const { orderId, isFirst } = orderOf(job)
      const order = await takeOrder(postgres, orderId, 'paid')
      if (order === undefined) return job.log.info({ orderId }, 'nothing to confirm')
      const receiver = await readReceiver(postgres, orderId)
      const { traceparent, signal } = job
      if (receiver) await mailer.send({ ...order, orderId, ...receiver, traceparent, isFirst, signal })
      else job.log.info({ orderId }, 'no mail: its user was deleted')
      await settleOrder(postgres, orderId, 'paid', 'confirmed')
      job.log.info({ orderId }, 'order confirmed')
    },

    async 'order.refund'(job) {
      const { orderId, isFirst } = orderOf(job)
      const order = await takeOrder(postgres, orderId, 'refunding')
      if (order === undefined) return job.log.info({ orderId }, 'nothing to refund')
      await refundOrder(payments, job, order, isFirst)
      await settleOrder(postgres, orderId, 'refunding', 'cancelled')
      job.log.info({ orderId }, 'order refunded')
    },

    async 'orders.sweep'(job) {
      const expired = await repeat(job, async () => {
        const { expired, shows } = await expireSome(postgres, sweepBatch)
        await announce(job, shows)
        return expired
      })
      let emitted = 0
      await repeat(job, async () => {
        const batch = await reemitSome(postgres, outbox, deadLetters, stuckMs, sweepBatch)
        emitted += batch.emitted
        return batch.seen
      })
      if (expired + emitted > 0) job.log.info({ expired, emitted }, 'orders swept')
    },

    async 'reports.sales'(job) {
      const reports = await computeSales(postgres)
      job.log.info({ reports }, 'sales report computed')
    },
  }
}

/** Batch after batch until one is not full: no statement locks many rows, and no transaction is long. */
async function repeat(job: Job, batch: () => Promise<number>): Promise<number> {
  let total = 0
  for (let done = sweepBatch; done === sweepBatch && !job.signal.aborted; total += done) done = await batch()
  return total
}
