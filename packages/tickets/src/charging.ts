import { type Job, PermanentFailure } from '@escala/kit/jobs/jobs'
import type { WorkerParts } from '@escala/kit/module'
import type { Outbox } from '@escala/kit/outbox/outbox'
import { orderOf } from './messages.ts'
import { type PaymentContext, type PaymentOutcome, PaymentRefused, type Payments } from './payments.ts'
import type { ShowAvailability } from './shows.ts'
import {
  beginCharge,
  markFailed,
  markPaid,
  noteReturnedCharge,
  type OrderAtWork,
  readOrderAtWork,
  releaseOrder,
  takeChargeableOrder,
} from './transitions.ts'

export interface ChargingOptions extends Pick<WorkerParts, 'postgres'> {
  outbox: Pick<Outbox, 'insert'>
  payments: Payments
  /** See `takeOrder`. */
  touchMs: number
  /** Publishes what is available after tickets came back. */
  announce(job: Job, shows: ShowAvailability[]): Promise<void>
}

/** A charge that the provider has made, with what a refund of it must say. */
interface Charge {
  id: string
  reference: string
  amountCents: number
  currency: string
}

/**
 * Charges an order. Money that the provider has taken always ends in one of three ways: the order is paid, the money is refunded,
 * or the job is a dead letter.
 */
export function chargeJob({ postgres, outbox, payments, touchMs, announce }: ChargingOptions) {
  const fail = async (job: Job, orderId: string) => announce(job, await markFailed(postgres, orderId))

  /** Gives a charge to its order, or the money back to its buyer when there is no order that waits for it. */
  const settle = async (job: Job, orderId: string, charge: Charge, context: PaymentContext) => {
    if (await markPaid(postgres, outbox, orderId, charge.id, job.traceparent)) {
      return job.log.info({ orderId, outcome: 'succeeded' }, 'order charged')
    }
    const order = await readOrderAtWork(postgres, orderId)
    if (order?.chargeId === charge.id) return job.log.info({ orderId }, 'order was charged already')
    const { id, ...terms } = charge
    job.log.warn(
      { orderId, status: order?.status ?? 'unknown', charge: id },
      'charge without an order that waits for it: refunding',
    )
    const { status } = await payments.refund({ ...context, ...terms, charge: id })
    if (status === 'declined') throw new PermanentFailure('the payment provider declined to refund')
    await noteReturnedCharge(postgres, orderId, id)
    job.log.warn({ orderId, charge: id }, 'charge without an order refunded')
  }

  /** There is nothing to charge; but an earlier run may have charged, and its result may be lost. */
  const lookBack = async (job: Job, orderId: string, context: PaymentContext) => {
    const order = context.isFirst ? undefined : await readOrderAtWork(postgres, orderId)
    if (context.isFirst || order?.chargeId !== undefined) return job.log.info({ orderId }, 'nothing to charge')
    const charge = await payments.find(orderId, context)
    if (charge?.status !== 'succeeded') return job.log.info({ orderId }, 'nothing to charge')
    await settle(job, orderId, charge, context)
  }

  /** A definite refusal is a known outcome, as long as no earlier request can have had another. */
  const onRefusal = async (job: Job, order: OrderAtWork, refused: PaymentRefused, context: PaymentContext) => {
    if (order.status === 'pending' && refused.isOurs) await releaseOrder(postgres, order.id)
    else {
      const charge = await payments.find(order.id, context)
      if (charge?.status === 'succeeded') return settle(job, order.id, charge, context)
      // An address that leads elsewhere says 404 to the charge and to the question: of an earlier request nothing is known.
      if (context.isFirst || refused.status !== 404) await fail(job, order.id)
    }
    throw refused
  }

  return async (job: Job): Promise<void> => {
    const { orderId, isFirst } = orderOf(job)
    const order = await takeChargeableOrder(postgres, orderId, touchMs)
    const context = contextOf(job, order, isFirst)
    if (order === undefined) return lookBack(job, orderId, context)
    const terms = termsOf(order)
    let outcome: PaymentOutcome | undefined
    try {
      // An order that the breaker holds back stays `pending`, so its buyer can still cancel it. Once it is `charging`, a throw leaves
      // it so: the money may have moved, and only another attempt with the same key can find out.
      outcome = await payments.charge({ ...context, ...terms, key: orderId }, () => beginCharge(postgres, orderId))
    } catch (error) {
      if (!(error instanceof PaymentRefused)) throw error
      return onRefusal(job, order, error, context)
    }
    if (outcome === undefined) return lookBack(job, orderId, context)
    if (outcome.status === 'succeeded') return settle(job, orderId, { ...terms, id: outcome.id }, context)
    await fail(job, orderId)
    job.log.info({ orderId, outcome: 'declined' }, 'order charged')
  }
}

/** Gives the money of a cancelled order back. Throws when the provider does not: then a person must. */
export async function refundOrder(payments: Payments, job: Job, order: OrderAtWork, isFirst: boolean) {
  const charge = order.chargeId
  if (charge === undefined) throw new PermanentFailure('the order is being refunded and has no charge')
  const { status } = await payments.refund({ ...contextOf(job, order, isFirst), ...termsOf(order), charge })
  if (status === 'declined') throw new PermanentFailure('the payment provider declined to refund')
}

function contextOf(job: Job, order: OrderAtWork | undefined, isFirst: boolean): PaymentContext {
  const { signal, traceparent } = job
  const requestId = order?.requestId ?? job.requestId ?? job.id
  // `charging` already: an earlier job has sent it.
  return { requestId, traceparent, signal, isFirst: isFirst && order?.status !== 'charging' }
}

const termsOf = ({ number, totalCents, currency }: OrderAtWork) => ({
  reference: String(number),
  amountCents: totalCents,
  currency,
})
