import { setTimeout as wait } from 'node:timers/promises'
import { createBullmqDeadLetters } from '@escala/kit/jobs/dead-letters'
import type { DeadLetters } from '@escala/kit/jobs/jobs'
import { createLog } from '@escala/kit/log/log'
import { createRedis, stopRedis } from '@escala/kit/redis/redis'
import type { Client } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { workerLanes } from '../../apps/worker/src/modules.ts'
import { check, defineLab, type LabContext } from '../lab.ts'
import { createBuyer, createShow, listOrders, order } from '../shop.ts'

interface Size {
  orders: number
  /** Orders that the provider has a bug for: many more than failures in a row open the breaker. */
  bad: number
}

const priceCents = 1000
/** Of tickets, in the orders that the payment provider has a bug for, and in the one that it refuses. */
const poisonQuantity = 3
const refusedQuantity = 5
const workerEnv = { JOB_CONCURRENCY: '1', JOB_ATTEMPTS: '4', JOB_BACKOFF_MS: '200' }

export const lab = defineLab<Size>({
  slug: 'poison-jobs',
  sample: true,
  problem: 'A few jobs that can never succeed are retried for ever, and all others wait behind them.',
  sizes: { full: { orders: 100, bad: 100 }, test: { orders: 20, bad: 20 } },
  halves: {
    problem: {
      title: (workers) => `retried for ever, bad jobs block all ${workers} workers`,
      async run(context) {
        const shop = await openShop(context, new URL('./naive.ts', import.meta.url))
        const usualMs = await confirmAll(shop, context.size.orders, 60_000)
        await poison(shop, context.size.bad)
        await confirmAll(shop, context.size.orders, 3 * usualMs + 1000)
        return [
          check('bad orders', context.size.bad, { equals: context.size.bad }),
          check('other orders', context.size.orders, { equals: context.size.orders }),
          check('of them confirmed in three times their usual time', await confirmed(shop), { equals: 0 }),
        ]
      },
    },
    fix: {
      title: 'with attempts, backoff and dead letters, bad jobs delay no others',
      async run(context) {
        const { size } = context
        const shop = await openShop(context)
        const usualMs = await confirmAll(shop, size.orders, 60_000)
        await poison(shop, size.bad)
        const besideMs = await confirmAll(shop, size.orders, 60_000)
        const besides = await confirmed(shop)
        const refused = await refuseOne(shop)
        const { listed, replayed } = await replay(shop, size.bad)
        return [
          check('bad orders', size.bad, { equals: size.bad }),
          check('other orders', size.orders, { equals: size.orders }),
          check('of them confirmed in three times their usual time', besideMs < 3 * usualMs + 1000 ? besides : 0, {
            equals: size.orders,
          }),
          check('their time, compared with the usual one', besideMs / usualMs, { atMost: 3 }),
          check('requests for one more order, which the provider refuses', refused, { equals: 1 }),
          check('dead letters that an operator finds', listed, { equals: size.bad + 1 }),
          check('of the bad orders confirmed once the provider is repaired and they are replayed', replayed, {
            equals: size.bad,
          }),
        ]
      },
    },
  },
})

interface Shop {
  cluster: Cluster
  show: string
  /** User of the orders that are counted; a different one each time. */
  buyer: Client
  patient: Client
  progress(done: number): void
}

async function openShop({ cluster: start, size, replicas, progress }: LabContext<Size>, parts?: URL): Promise<Shop> {
  const cluster = await start({ parts, replicas: 2, workers: replicas, workerEnv })
  const show = await createShow(cluster)
  const [buyer, patient] = await Promise.all([createBuyer(cluster), createBuyer(cluster)])
  return { cluster, show, buyer, patient, progress: (done) => progress(done, size.orders) }
}

async function confirmed({ buyer }: Shop): Promise<number> {
  return (await listOrders(buyer)).filter(({ status }) => status === 'confirmed').length
}

/** A new user orders; returns how long it takes until all is confirmed, or the time is up. */
async function confirmAll(shop: Shop, orders: number, limitMs: number): Promise<number> {
  shop.buyer = await createBuyer(shop.cluster)
  const startedAt = performance.now()
  for (let n = 0; n < orders; n++) await order(shop.buyer, shop.show)
  for (let done = 0; done < orders && performance.now() - startedAt < limitMs; await wait(20)) {
    done = await confirmed(shop)
    shop.progress(done)
  }
  return performance.now() - startedAt
}

const badBehaviour = {
  brokenAmounts: [poisonQuantity * priceCents],
  refusals: { [refusedQuantity * priceCents]: 422 },
}

/** So many orders that cannot be charged; resolves when they are being tried. */
async function poison({ cluster, show, patient }: Shop, orders: number): Promise<void> {
  await cluster.payments.behave(badBehaviour)
  const before = (await cluster.payments.seen()).requests
  for (let n = 0; n < orders; n++) await order(patient, show, undefined, poisonQuantity)
  while ((await cluster.payments.seen()).requests < before + 2 * orders) await wait(20)
}

/** One order that the provider says 422 to; how often it was asked until the order had failed. */
async function refuseOne({ cluster, show, patient }: Shop): Promise<number> {
  const { id } = (await order(patient, show, undefined, refusedQuantity)).body
  const status = async () => (await patient.get(`/v1/orders/${id}`)).body.status
  for (const deadline = Date.now() + 10_000; (await status()) !== 'failed' && Date.now() < deadline; ) await wait(50)
  await wait(1000) // longer than the wait before a second try
  return (await cluster.payments.seen()).refused
}

/** What an operator does, with `npm run jobs`: look, repair, replay. */
async function replay({ cluster, patient }: Shop, orders: number) {
  const log = createLog({ service: 'lab', replicaId: 'lab', version: '', level: 'silent' })
  const redis = createRedis({ url: cluster.redisUrl, role: 'request', log, timeoutMs: 5000 })
  const deadLetters = createBullmqDeadLetters({ redis, lanes: workerLanes() })
  while (redis.status !== 'ready') await wait(10)
  const listed = await settled(deadLetters, orders + 1)
  await cluster.payments.behave({})
  for (const { id } of await deadLetters.list({ limit: 1000 })) await deadLetters.replay(id)
  let replayed = 0
  for (const deadline = Date.now() + 10_000; replayed < orders && Date.now() < deadline; await wait(50)) {
    replayed = (await listOrders(patient)).filter(({ status }) => status === 'confirmed').length
  }
  await deadLetters.stop()
  await stopRedis(redis)
  return { listed, replayed }
}

async function settled(deadLetters: DeadLetters, expected: number): Promise<number> {
  let listed = 0
  for (const deadline = Date.now() + 10_000; listed < expected && Date.now() < deadline; await wait(50)) {
    listed = (await deadLetters.list({ limit: 1000 })).length
  }
  return listed
}
