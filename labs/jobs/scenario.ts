import { setTimeout as wait } from 'node:timers/promises'
import type { Cluster } from '@escala/testing/cluster'
import type { Replica } from '@escala/testing/replica'
import { check, defineLab, type LabContext } from '../lab.ts'
import { createBuyer, createShow, order, untilQuiet } from '../shop.ts'

interface Size {
  orders: number
  kills: number
}

const workerEnv = {
  MAX_PROCESSES: '20', // a killed one counts until its heartbeat is too old
  JOB_CONCURRENCY: '5',
  JOB_LOCK_MS: '1000',
  JOB_STALLED_MS: '500',
  JOB_BACKOFF_MS: '100',
}

export const lab = defineLab<Size>({
  slug: 'jobs',
  sample: true,
  problem: 'Work that is done after the response dies with the replica that promised it.',
  replicas: { min: 2, max: 6 },
  sizes: { full: { orders: 200, kills: 5 }, test: { orders: 60, kills: 2 } },
  halves: {
    problem: {
      title: 'with the work after the response in each replica, a killed replica takes accepted orders with it',
      async run(context) {
        const { size, cluster: start } = context
        const parts = new URL('./naive.ts', import.meta.url)
        const cluster = await start({ parts, peers: true, env: { MAX_PROCESSES: '20' } })
        const { buyer, accepted } = await placeOrders(context, cluster)
        await cluster.replicas[0]?.kill()
        const seen = await untilQuiet({ cluster, buyer, orders: size.orders, progress: context.progress })
        return [
          check('orders accepted', accepted, { equals: size.orders }),
          // About one in three was on that replica, and the provider had not answered for most of them.
          check('of them never confirmed', size.orders - seen.confirmed, {
            between: [size.orders / 10, size.orders * 0.75],
          }),
        ]
      },
    },
    fix: {
      title: (replicas) => `with jobs for ${replicas} workers, every accepted order is confirmed, whatever is killed`,
      async run(context) {
        const { size, replicas, cluster: start } = context
        const cluster = await start({ workers: replicas, env: { MAX_PROCESSES: '20' }, workerEnv })
        const { buyer, accepted } = await placeOrders(context, cluster)
        await cluster.replicas[0]?.kill()
        await killInTurns(cluster.workers, size.kills)
        const seen = await untilQuiet({ cluster, buyer, orders: size.orders, progress: context.progress })
        return [
          check('orders accepted', accepted, { equals: size.orders }),
          check('of them never confirmed', size.orders - seen.confirmed, { equals: 0 }),
          check('workers killed meanwhile', size.kills, { equals: size.kills }),
          check('charges at the provider', seen.charges, { equals: size.orders }),
          check('attempts to charge again under the same key', seen.repeatedCharges, { atMost: size.kills * 5 }),
          check('different mails', seen.mails, { equals: size.orders }),
          check('mails that arrived again, with the same Message-ID', seen.repeatedMails, { atMost: size.kills }),
        ]
      },
    },
  },
})

/** Orders faster than the payment provider answers. */
async function placeOrders({ size }: LabContext<Size>, cluster: Cluster) {
  await cluster.payments.behave({ latencyMs: 2500 })
  const show = await createShow(cluster)
  const buyer = await createBuyer(cluster)
  let accepted = 0
  let begun = 0
  const buy = async () => {
    while (begun++ < size.orders) if ((await order(buyer, show)).status === 201) accepted++
  }
  await Promise.all(Array.from({ length: 20 }, buy))
  await cluster.payments.behave({ latencyMs: 100 })
  return { buyer, accepted }
}

async function killInTurns(workers: Replica[], kills: number): Promise<void> {
  for (let n = 0; n < kills; n++) {
    await wait(250)
    const victim = workers[n % workers.length]
    await victim?.kill()
    await victim?.restart()
  }
}
