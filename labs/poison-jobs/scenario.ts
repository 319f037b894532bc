import { setTimeout as wait } from 'node:timers/promises'
import { createBullmqDeadLetters } from '@escala/kit/jobs/dead-letters.ts'
import type { DeadLetters } from '@escala/kit/jobs/jobs.ts'
import { createLog } from '@escala/kit/log/log.ts'
import { createRedis, stopRedis } from '@escala/kit/redis/redis.ts'
import type { Client } from '@escala/testing/client.ts'
import type { Cluster } from '@escala/testing/cluster.ts'
import { check, defineLab, type LabContext } from '../lab.ts'
import { createBuyer, createShow, listOrders, order } from '../shop.ts'

interface Size {
  orders: number
}

const priceCents = 1000
/** Of tickets, in the orders that the payment provider has a bug for. */
const poisonQuantity = 3
const workerEnv = { JOB_CONCURRENCY: '1', JOB_ATTEMPTS: '4', JOB_BACKOFF_MS: '200' }

export const lab = defineLab<Size>({
  slug: 'poison-jobs',
  problem: 'A few jobs that can never succeed are tried for ever, and all others wait behind them.',
  sizes: { full: { orders: 100 }, test: { orders: 20 } },
  halves: {
    problem: {
      title: (workers) => `retrying for ever, ${workers} bad jobs stop ${workers} workers`,
      async run(context) {
        const shop = await openShop(context, new URL('./naive.ts', import.meta.url))
        const usualMs = await confirmAll(shop, context.size.orders, 60_000)
        await poison(shop, context.replicas)
        await confirmAll(shop, context.size.orders, 3 * usualMs + 1000)
        return [
          check('bad orders', context.replicas, { equals: context.replicas }),
          check('other orders', context.size.orders, { equals: context.size.orders }),
          check('of them confirmed in three times their usual time', await confirmed(shop), { equals: 0 }),
        ]
      },
    },
    fix: {
      title: (workers) => `with attempts, backoff and dead letters, ${workers} bad jobs delay nobody`,
      async run(context) {
        const { size, replicas } = context
        const shop = await openShop(context)
        const usualMs = await confirmAll(shop, size.orders, 60_000)
        await poison(shop, replicas)
        const besideMs = await confirmAll(shop, size.orders, 60_000)
        const besides = await confirmed(shop)
        const { listed, replayed } = await replay(shop, replicas)
        return [
          check('bad orders', replicas, { equals: replicas }),
          check('other orders', size.orders, { equals: size.orders }),
          check('of them confirmed in three times their usual time', besideMs < 3 * usualMs + 1000 ? besides : 0, {
            equals: size.orders,
          }),
          check('their time, compared with the usual one', besideMs / usualMs, { atMost: 3 }),
          check('dead letters that an operator finds', listed, { equals: replicas }),
          check('of them confirmed once the provider is repaired and they are replayed', replayed, {
            equals: replicas,
          }),
        ]
      },
    },
  },
})

interface Shop {
  cluster: Cluster
  show: string
  /** Of the orders that are counted; another one each time. */
  buyer: Client
  patient: Client
  progress(done: number): void
}

async function openShop({ cluster: start, size, replicas, progress }: LabContext<Size>, naive?: URL): Promise<Shop> {
  const cluster = await start({ naive, replicas: 2, workers: replicas, workerEnv })
  const show = await createShow(cluster)
  const [buyer, patient] = await Promise.all([createBuyer(cluster), createBuyer(cluster)])
  return { cluster, show, buyer, patient, progress: (done) => progress(done, size.orders) }
}

async function confirmed({ buyer }: Shop): Promise<number> {
  return (await listOrders(buyer)).filter(({ status }) => status === 'confirmed').length
}

/** Somebody new orders; how long it takes until all is confirmed, or the time is up. */
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

/** As many orders that cannot be charged as there are workers; resolves when they are being tried. */
async function poison({ cluster, show, patient }: Shop, orders: number): Promise<void> {
  await cluster.payments.behave({ brokenAmounts: [poisonQuantity * priceCents] })
  const before = (await cluster.payments.seen()).requests
  for (let n = 0; n < orders; n++) await order(patient, show, undefined, poisonQuantity)
  while ((await cluster.payments.seen()).requests < before + 2 * orders) await wait(20)
}

/** What an operator does, with `npm run jobs`: look, repair, replay. */
async function replay({ cluster, patient }: Shop, orders: number) {
  const log = createLog({ service: 'lab', replicaId: 'lab', version: '', level: 'silent' })
  const redis = createRedis({ url: cluster.redisUrl, role: 'request', log, timeoutMs: 5000 })
  const deadLetters = createBullmqDeadLetters({ redis })
  while (redis.status !== 'ready') await wait(10)
  const listed = await settled(deadLetters, orders)
  await cluster.payments.behave({})
  for (const { id } of await deadLetters.list()) await deadLetters.replay(id)
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
    listed = (await deadLetters.list()).length
  }
  return listed
}
