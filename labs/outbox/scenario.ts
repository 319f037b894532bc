import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import type { Client } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import type { Replica } from '@escala/testing/replica'
import pg from 'pg'
import { check, defineLab, type LabContext } from '../lab.ts'
import { createBuyer, createShow, order, untilQuiet } from '../shop.ts'
import { holdOne, killRelays } from './relays.ts'

interface Size {
  orders: number
  /** Of replicas of the API while orders come in, and in the fixed half of workers that relay. */
  kills: number
}

const maxProcesses = { MAX_PROCESSES: '40' } // a killed one counts until its heartbeat is too old
const workerEnv = { ...maxProcesses, JOB_LOCK_MS: '1000', JOB_STALLED_MS: '500', JOB_BACKOFF_MS: '100' }

export const lab = defineLab<Size>({
  slug: 'outbox',
  sample: true,
  problem: 'A crash or a Redis outage between the commit and the queue leaves an order without a job.',
  replicas: { min: 2, max: 8 },
  sizes: { full: { orders: 300, kills: 20 }, test: { orders: 80, kills: 2 } },
  halves: {
    problem: {
      title: 'with commit, then enqueue, a crash in between leaves orders without a job',
      async run(context) {
        const { accepted, seen } = await orderUnderKills(context, { parts: new URL('./naive.ts', import.meta.url) })
        return [
          check('orders accepted', accepted, { equals: context.size.orders }),
          check('orders without a job', accepted - seen.confirmed, { atLeast: 1 }),
        ]
      },
    },
    fix: {
      title: 'with an outbox and a relay, every order has its job, whatever is killed',
      async run(context) {
        const { size } = context
        const { cluster, accepted, seen, workerKills } = await orderUnderKills(context, { killWorkers: true })
        const { unmarked, copies, overtaken } = await killRelays(cluster)
        const heldUp = await holdOne(cluster)
        return [
          check('orders accepted', accepted, { equals: size.orders }),
          check('orders without a job', accepted - seen.confirmed, { equals: 0 }),
          check('relays killed meanwhile', workerKills, { equals: size.kills }),
          check('charges at the provider', seen.charges, { equals: size.orders }),
          check('different mails', seen.mails, { equals: size.orders }),
          check('in the queue but not marked when all relays were killed', unmarked, { atLeast: 1 }),
          check('messages that are in the queue twice', copies, { equals: 0 }),
          check('messages behind a later one of their aggregate', overtaken, { equals: 0 }),
          check('messages that wait for another aggregate, whose relay hangs', heldUp, { equals: 0 }),
        ]
      },
    },
  },
})

interface Half {
  parts?: URL
  killWorkers?: boolean
}

async function orderUnderKills({ size, progress, cluster: start }: LabContext<Size>, { parts, killWorkers }: Half) {
  const cluster = await start({ parts, workers: 3, faults: true, env: maxProcesses, workerEnv })
  const show = await createShow(cluster)
  const buyer = await createBuyer(cluster)
  // Redis far away: what happens after the commit takes long enough for a kill to meet it.
  cluster.redisProxy.delay(15)

  const orders = placeOrders(cluster, buyer, show, size.orders)
  const [accepted, , workerKills] = await Promise.all([
    orders.done,
    killInTurns(cluster.replicas, size.kills, orders.running),
    killWorkers ? killInTurns(cluster.workers, size.kills, () => true) : 0,
  ])
  await cluster.redisProxy.heal()
  const seen = await untilQuiet({ cluster, buyer, orders: size.orders, progress })
  return { cluster, accepted, seen, workerKills }
}

/**
 * Each order is tried, under its key, until it is accepted. After a third and two thirds Redis is cut off for a moment. Clients
 * pause, each for another time, so that a kill meets some of them at every step and not all of them at the same.
 */
function placeOrders(cluster: Cluster, buyer: Client, show: string, orders: number) {
  let begun = 0
  let accepted = 0
  let running = true
  let cut: Promise<void> = Promise.resolve()
  const cuts = [1, 2].map((third) => Math.round((orders * third) / 3))
  const buy = async () => {
    while (begun < orders) {
      const number = ++begun
      await wait(Math.random() * 100)
      if (cuts.includes(number)) cut = cut.then(() => cutRedisOff(cluster))
      const key = randomUUID()
      while ((await order(buyer, show, key)).status !== 201) await wait(Math.random() * 100)
      accepted++
    }
  }
  const done = Promise.all(Array.from({ length: 20 }, buy)).then(async () => {
    running = false
    await cut
    return accepted
  })
  return { done, running: () => running }
}

/** At the worst moment: an order has just been committed, and what follows its commit is still on the way to Redis. */
async function cutRedisOff({ redisProxy, databaseUrl }: Cluster): Promise<void> {
  redisProxy.delay(100)
  await nextCommit(databaseUrl)
  await redisProxy.refuse()
  await wait(500)
  await redisProxy.heal()
  redisProxy.delay(15)
}

async function nextCommit(databaseUrl: string): Promise<void> {
  const client = new pg.Client(databaseUrl)
  await client.connect()
  try {
    const count = async () =>
      (await client.query<{ orders: string }>('SELECT count(*) AS orders FROM orders')).rows[0]?.orders
    const before = await count()
    for (const until = performance.now() + 5000; performance.now() < until && (await count()) === before; )
      await wait(5)
  } finally {
    await client.end()
  }
}

async function killInTurns(replicas: Replica[], kills: number, wanted: () => boolean): Promise<number> {
  let killed = 0
  while (killed < kills && wanted()) {
    await wait(100 + Math.random() * 100)
    const victim = replicas[killed % replicas.length]
    await victim?.kill()
    killed++
    await victim?.restart()
  }
  return killed
}
