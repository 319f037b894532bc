import type { Job, JobHandler } from '@escala/kit/jobs/jobs'
import type { Mailer } from '@escala/kit/mail/mail'
import type { WorkerParts } from '@escala/kit/module'
import type { Outbox } from '@escala/kit/outbox/outbox'
import { chargeJob, refundOrder } from './charging.ts'
import { sendConfirmation } from './confirmation.ts'
import { announceAvailability } from './live.ts'
import { orderOf } from './messages.ts'
import type { Payments } from './payments.ts'
import { computeSales } from './sales.ts'
import type { ShowAvailability } from './shows.ts'
import { expireSome, reemitSome, settleOrder, takeOrder, takePaidOrder, whatIsDue } from './transitions.ts'

export interface OrderJobsOptions extends Pick<WorkerParts, 'postgres' | 'events' | 'deadLetters'> {
  outbox: Pick<Outbox, 'insert'>
  payments: Payments
  mailer: Mailer
  /** An order that no job has worked on for so long is queued again. */
  stuckMs: number
  /** Counts orders that the sweep has moved on. */
  onSwept?(orders: { expired: number; emitted: number }): void
}

const sweepBatch = 200
/** Times within `stuckMs` that an order is marked as being worked on, however many jobs it has. */
const maxMarks = 4

/** Each may run twice, at once too: the order's state says what is still to be done, and the peers know the order's key. */
export function orderJobs(options: OrderJobsOptions): Record<string, JobHandler> {
  const { postgres, outbox, events, deadLetters, payments, mailer, stuckMs, onSwept } = options
  const touchMs = Math.floor(stuckMs / maxMarks)
  const announce = async (job: Job, shows: ShowAvailability[]) => {
    await Promise.all(shows.map(({ showId, ...now }) => announceAvailability(events, job.log, showId, now)))
  }
  return {
    'order.charge': chargeJob({ postgres, outbox, payments, touchMs, announce }),

    async 'order.mail'(job) {
      const { orderId, isFirst } = orderOf(job)
      const order = await takePaidOrder(postgres, orderId, touchMs)
      if (order === undefined) return job.log.info({ orderId }, 'nothing to confirm')
      const { traceparent, signal } = job
      const { receiver } = order
      if (receiver) await sendConfirmation(mailer, { ...order, orderId, ...receiver, traceparent, isFirst, signal })
      else job.log.info({ orderId }, 'no mail: its user was deleted')
      await settleOrder(postgres, orderId, 'paid', 'confirmed')
      job.log.info({ orderId }, 'order confirmed')
    },

    async 'order.refund'(job) {
      const { orderId, isFirst } = orderOf(job)
      const order = await takeOrder(postgres, orderId, 'refunding', touchMs)
      if (order === undefined) return job.log.info({ orderId }, 'nothing to refund')
      await refundOrder(payments, job, order, isFirst)
      await settleOrder(postgres, orderId, 'refunding', 'cancelled')
      job.log.info({ orderId }, 'order refunded')
    },

    async 'orders.sweep'(job) {
      const due = await whatIsDue(postgres, stuckMs)
      let expired = 0
      let emitted = 0
      if (due.expiry) {
        expired = await repeat(job, async () => {
          const { expired, shows } = await expireSome(postgres, sweepBatch)
          await announce(job, shows)
          return expired
        })
      }
      if (due.repetition) {
        await repeat(job, async () => {
          const batch = await reemitSome(postgres, outbox, deadLetters, stuckMs, sweepBatch)
          emitted += batch.emitted
          return batch.seen
        })
      }
      onSwept?.({ expired, emitted })
      if (expired + emitted > 0) job.log.info({ expired, emitted }, 'orders swept')
    },

    async 'reports.sales'(job) {
      const reports = await computeSales({ postgres, run: job.id, signal: job.signal })
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
