import { setTimeout as wait } from 'node:timers/promises'
import type { Client } from '@escala/testing/client'
import { check, defineLab, type LabContext } from '../lab.ts'
import { createBuyer, createShow, listOrders, order, untilQuiet } from '../shop.ts'

interface Size {
  orders: number
  /** How long the provider answers too late, and then how long it answers 500. */
  slowMs: number
  failingMs: number
}

const workerEnv = {
  JOB_CONCURRENCY: '3',
  PAYMENTS_TIMEOUT_MS: '500',
  BREAKER_FAILURES: '3',
  BREAKER_OPEN_MS: '500',
}
const unwanted = 10

/** The demand: each order needs one request to the provider, whatever happens. */
export const lab = defineLab<Size>({
  slug: 'retry-storm',
  sample: true,
  problem: 'One slow payment provider gets many times its traffic, because every layer retries.',
  sizes: {
    full: { orders: 500, slowMs: 5000, failingMs: 10_000 },
    test: { orders: 120, slowMs: 1000, failingMs: 3000 },
  },
  halves: {
    problem: {
      title: (workers) => `with retries in client and queue, ${workers} workers bury a failing provider`,
      async run(context) {
        const { orders } = context.size
        const { cluster, accepted } = await outage(context, new URL('./naive.ts', import.meta.url))
        const { requests } = await cluster.payments.seen()
        return [
          check('orders accepted meanwhile: the demand', accepted, { equals: orders }),
          check('requests to the provider for each of them', requests / orders, { atLeast: 3 }),
        ]
      },
    },
    fix: {
      title: (workers) =>
        `with one retrying layer behind a breaker, ${workers} workers wait until the provider is back`,
      async run(context) {
        const { orders } = context.size
        const { accepted, cancelled, ...seen } = await untilBack(context)
        return [
          check('orders accepted meanwhile: the demand', accepted, { equals: orders }),
          check('requests to the provider for each of them', seen.requests / orders, { atMost: 1.2 }),
          // Each of the workers may just be trying one of them.
          check(`of ${unwanted} orders that wait, cancelled meanwhile`, cancelled, {
            atLeast: unwanted - context.replicas,
          }),
          check('of these charged', seen.cancelledCharges, { equals: 0 }),
          check('all others: left over long after its recovery', orders - cancelled - seen.confirmed, {
            equals: 0,
          }),
          check('money moved, in cents for each', seen.cents / (orders - cancelled), { equals: 1000 }),
        ]
      },
    },
  },
})

async function outage(context: LabContext<Size>, parts?: URL, meanwhile = async (_: Client): Promise<string[]> => []) {
  const { orders, slowMs, failingMs } = context.size
  const cluster = await context.cluster({ parts, replicas: 2, workers: context.replicas, workerEnv })
  const [show, buyer] = await Promise.all([createShow(cluster), createBuyer(cluster)])

  await cluster.payments.behave({ latencyMs: 3000 })
  const slow = wait(slowMs)
  let accepted = 0
  for (let placed = 0; placed < orders; placed += 10) {
    const answers = await Promise.all(Array.from({ length: Math.min(10, orders - placed) }, () => order(buyer, show)))
    accepted += answers.filter(({ status }) => status === 201).length
  }
  await slow
  await cluster.payments.behave({ failures: Number.MAX_SAFE_INTEGER })
  await wait(failingMs)
  const cancelled = await meanwhile(buyer)
  await cluster.payments.behave({})
  return { cluster, buyer, accepted, cancelled }
}

/** The same, until all orders that were not cancelled are confirmed. */
async function untilBack(context: LabContext<Size>) {
  const { orders, slowMs, failingMs } = context.size
  const { cluster, buyer, accepted, cancelled } = await outage(context, undefined, cancelSome)
  const quietMs = Math.max(4000, slowMs + failingMs) // longer than any job waits by now
  const rest = { cluster, buyer, orders: orders - cancelled.length, quietMs, progress: context.progress }
  const { confirmed } = await untilQuiet(rest)
  const { requests, charges } = await cluster.payments.seen()
  return {
    accepted,
    confirmed,
    requests,
    cents: charges.reduce((sum, { amountCents }) => sum + amountCents, 0),
    cancelled: cancelled.length,
    cancelledCharges: charges.filter(({ key }) => cancelled.includes(key)).length,
  }
}

/** What their buyer does who has waited for long enough; those that are gone. */
async function cancelSome(buyer: Client): Promise<string[]> {
  const waiting = (await listOrders(buyer)).filter(({ status }) => status === 'pending').slice(0, unwanted)
  const answers = await Promise.all(waiting.map(({ id }) => buyer.delete(`/v1/orders/${id}`)))
  return answers.filter(({ body }) => body?.status === 'cancelled').map(({ body }) => body.id)
}
