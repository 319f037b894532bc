import { setTimeout as wait } from 'node:timers/promises'
import { createLog } from '@escala/kit/log/log'
import { migrate } from '@escala/kit/postgres/migrations'
import type { AddOptions, Cluster } from '@escala/testing/cluster'
import type { Replica } from '@escala/testing/replica'
import { withClient } from '@escala/testing/test-database'
import { check, defineLab, type LabContext } from '../lab.ts'
import { countDeadLetters, runMigrateStep, versionsOf, withRedis } from '../roll-out.ts'
import { untilQuiet } from '../shop.ts'
import { fixed } from './fixed.ts'
import { naive } from './naive.ts'
import { makeCheckout, type NextVersion } from './next-version.ts'
import { startShopTraffic } from './traffic.ts'

interface Size {
  ordersPerSecond: number
  /** Of each version. */
  workers: number
  /** Orders from before. */
  history: number
  /** How long both versions run side by side. */
  mixedMs: number
}

const versions = { old: '1.0.0', next: '2.0.0' }
const log = createLog({ service: 'lab', replicaId: 'lab', version: '', level: 'silent' })

export const lab = defineLab<Size>({
  slug: 'mixed-versions',
  sample: true,
  problem:
    'A migration that works only with the next version: until the last old replica has gone, requests and jobs fail.',
  sizes: {
    full: { ordersPerSecond: 10, workers: 2, history: 20_000, mixedMs: 10_000 },
    test: { ordersPerSecond: 5, workers: 1, history: 2000, mixedMs: 2500 },
  },
  localOnly: 'This lab runs a second version of the code, which the image does not have.',
  halves: {
    problem: {
      title: (replicas) => `with a column renamed under ${replicas} old replicas, they fail until they are gone`,
      async run(context) {
        const { seen, end } = await rollOut(context, naive, async () => undefined)
        return [
          check('orders that failed', seen.orders.failed, { atLeast: 2 }),
          check('of them with 500', seen.orders.failures['500 E_INTERNAL'] ?? 0, { atLeast: 2 }),
          check('reads that failed', seen.reads.failed, { atLeast: 5 }),
          check('accepted orders without a confirmation', seen.orders.accepted - end.confirmed, { atLeast: 1 }),
          check('dead letters', end.deadLetters, { atLeast: 1 }),
        ]
      },
    },
    fix: {
      title: (replicas) =>
        `with expand, migrate, contract, ${replicas} old and ${replicas} new replicas work side by side`,
      async run(context) {
        const { seen, end, during, different } = await rollOut(context, fixed, backfill)
        return [
          check('orders accepted', seen.orders.accepted, { atLeast: context.size.ordersPerSecond }),
          check('orders that failed', seen.orders.failed, { equals: 0 }),
          check('repetitions with a different response than the first', seen.otherAnswers, { equals: 0 }),
          check('reads', seen.reads.total, { atLeast: context.size.ordersPerSecond }),
          check('reads that failed', seen.reads.failed, { equals: 0 }),
          check('reads older than a change made two seconds before', seen.staleReads, { equals: 0 }),
          check('versions that /scale lists', during.versions, { equals: `${versions.old}, ${versions.next}` }),
          check('the new schedule, after an old worker has restarted', during.scheduleStands, { equals: true }),
          check('times that an old worker left a job to a new one', during.left, { atLeast: 1 }),
          check('orders whose two columns differ, before the old one goes', different, { equals: 0 }),
          check('accepted orders without a confirmation', seen.orders.accepted - end.confirmed, { equals: 0 }),
          check('orders charged', end.charges, { equals: seen.orders.accepted }),
          check('dead letters', end.deadLetters, { equals: 0 }),
        ]
      },
    },
  },
})

/** Migrates under traffic, puts as many replicas and workers of the next version beside the old ones, and ends those after a while. */
async function rollOut(
  context: LabContext<Size>,
  next: NextVersion,
  afterMigration: (cluster: Cluster) => Promise<void>,
) {
  const { size, replicas, progress, cluster: start } = context
  const env = { VERSION: versions.old, MAX_PROCESSES: String(2 * (replicas + size.workers)) }
  const workerEnv = { ...env, LOG_LEVEL: 'debug' }
  const checkout = makeCheckout(next)
  const cluster = await start({ workers: size.workers, env, workerEnv })
  try {
    await addHistory(cluster, size.history)
    const traffic = await startShopTraffic(cluster, size.ordersPerSecond)
    const old = { replicas: [...cluster.replicas], workers: [...cluster.workers] }

    await runMigrateStep(checkout.folder, cluster.databaseUrl)
    await afterMigration(cluster)
    progress(1, 4)
    const added: AddOptions = { checkout: checkout.folder, env: { VERSION: versions.next } }
    await Promise.all([
      ...old.replicas.map(() => cluster.addReplica(added)),
      ...old.workers.map(() => cluster.addWorker(added)),
    ])
    progress(2, 4)
    await wait(size.mixedMs / 2)
    await restart(old.workers[0])
    await wait(size.mixedMs / 2)
    const during = {
      versions: await versionsOf(cluster),
      scheduleStands: await hasSchedule(cluster, 'orders-audit'),
      left: old.workers.reduce((sum, worker) => sum + (worker.logs().match(/"E_JOB_TOO_NEW"/g)?.length ?? 0), 0),
    }

    await Promise.all([
      ...old.replicas.map((replica) => cluster.remove(replica)),
      ...old.workers.map((worker) => worker.terminate()),
    ])
    progress(3, 4)
    const different = next === fixed ? await countDifferent(cluster) : 0
    if (next === fixed && different === 0) await contract(cluster)
    await wait(1000)
    const seen = await traffic.stop()
    const { buyer } = traffic
    const orders = seen.orders.accepted
    const end = await untilQuiet({ cluster, buyer, orders, quietMs: 2000, progress: () => undefined })
    progress(4, 4)
    return { seen, during, different, end: { ...end, deadLetters: await countDeadLetters(cluster) } }
  } finally {
    checkout.remove() // what runs has it in memory
  }
}

/** Migrate: what was there before, in batches, each a short transaction of its own. What comes meanwhile is the trigger's work. */
async function backfill(cluster: Cluster): Promise<void> {
  const batch = `UPDATE orders SET amount_cents = total_cents WHERE id IN (
    SELECT id FROM orders WHERE amount_cents IS NULL LIMIT 500 FOR UPDATE SKIP LOCKED)`
  await withClient(cluster.databaseUrl, async (client) => {
    while ((await client.query(batch)).rowCount) await wait(10)
  })
}

async function contract({ databaseUrl: url }: Cluster): Promise<void> {
  await migrate({ url, folders: [{ name: 'contract', url: new URL('./sql/contract/', import.meta.url) }], log })
}

async function addHistory(cluster: Cluster, orders: number): Promise<void> {
  await withClient(cluster.databaseUrl, (client) =>
    client.query(
      `INSERT INTO orders (id, user_id, show_id, status, quantity, total_cents, currency, hold_until, request_id)
       SELECT gen_random_uuid(), users.id, shows.id, 'confirmed', 1, shows.price_cents, shows.currency, now(), 'history'
       FROM (SELECT id FROM users LIMIT 1) AS users, (SELECT * FROM shows LIMIT 1) AS shows, generate_series(1, $1)`,
      [orders],
    ),
  )
}

async function countDifferent(cluster: Cluster): Promise<number> {
  const text = 'SELECT count(*)::int AS n FROM orders WHERE amount_cents IS DISTINCT FROM total_cents'
  return await withClient(cluster.databaseUrl, async (client) => (await client.query(text)).rows[0].n)
}

async function restart(worker: Replica | undefined): Promise<void> {
  await worker?.terminate()
  await worker?.restart()
}

async function hasSchedule(cluster: Cluster, id: string): Promise<boolean> {
  return await withRedis(cluster, async (redis) => (await redis.zscore('{escala}:jobs-schedules:repeat', id)) !== null)
}
