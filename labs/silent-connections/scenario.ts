import { setTimeout as wait } from 'node:timers/promises'
import { createClient, expectStatus } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { withClient } from '@escala/testing/test-database'
import { check, defineLab, type LabContext } from '../lab.ts'
import { until } from '../recovery.ts'
import { createBuyer, createShow, elsewhere, order, untilQuiet } from '../shop.ts'
import { watchOrders } from './watch.ts'

interface Size {
  /** How long each replica is watched after its connections have gone silent. */
  watchMs: number
  /** The same in the naive half, where nothing will come: as long as the lab has patience. */
  naiveMs: number
  /** Orders at once, for each replica, before: as many connections of its pool are open and idle afterwards. */
  idle: number
  /** Until all is well again. In tests more than is promised, since others run beside this one. */
  maxMs: number
}

const capacity = 100_000
// A job that was on its way to the worker when it began waits for so long.
const workerEnv = { JOB_BACKOFF_MS: '200', JOB_LOCK_MS: '4000', JOB_STALLED_MS: '500' }

export const lab = defineLab<Size>({
  slug: 'silent-connections',
  sample: true,
  problem: 'Connections go silent without a close or a reset, and every process waits for replies that never come.',
  sizes: {
    full: { watchMs: 15_000, naiveMs: 25_000, idle: 4, maxMs: 5000 },
    test: { watchMs: 8500, naiveMs: 3000, idle: 4, maxMs: 8000 },
  },
  halves: {
    problem: {
      title: (replicas) => `with default clients, ${replicas} replicas and a worker wait for ever`,
      async run(context) {
        const seen = await goSilent(context, new URL('./naive.ts', import.meta.url))
        return [
          check('orders accepted before', seen.before, { atLeast: context.replicas }),
          check(`orders accepted in ${context.size.naiveMs} ms after`, seen.accepted, { equals: 0 }),
          check('replicas that owe a response', seen.waiting, { equals: context.replicas }),
          check('waiting orders confirmed', seen.confirmed, { equals: 0 }),
          check('replicas that report themselves ready at the end', seen.ready, { equals: context.replicas }),
        ]
      },
    },
    fix: {
      title: (replicas) => `with ${replicas} replicas and a worker, all recover within five seconds`,
      async run(context) {
        const seen = await goSilent(context)
        return [
          check('orders accepted before', seen.before, { atLeast: context.replicas }),
          check('orders accepted after', seen.accepted, { atLeast: context.replicas }),
          check('ms until every replica takes orders again', seen.recoveryMs, { atMost: context.size.maxMs }),
          check('ms until the worker confirms orders again', seen.workerMs, { atMost: context.size.maxMs }),
          check('replicas that reported themselves degraded meanwhile', seen.degraded, { equals: context.replicas }),
          check('replicas that owe a response', seen.waiting, { equals: 0 }),
          check('replicas that report themselves ready at the end', seen.ready, { equals: context.replicas }),
          check('orders accepted in all, and confirmed', seen.confirmedAtLast, { equals: seen.before + seen.accepted }),
          check('tickets sold', seen.sold, { equals: seen.before + seen.accepted }),
          check('charges', seen.charges, { equals: seen.before + seen.accepted }),
        ]
      },
    },
  },
})

async function goSilent({ cluster: start, size, progress }: LabContext<Size>, parts?: URL) {
  // Neither Express nor a proxy with default settings has a deadline of ten seconds.
  const [watchMs, patienceMs] = parts ? [size.naiveMs, 500] : [size.watchMs, 5000]
  const env = parts && { REQUEST_TIMEOUT_MS: '120000', DRAIN_DEADLINE_MS: '1000' }
  const cluster = await start({ faults: true, workers: 1, parts, env, workerEnv: { ...workerEnv, ...env } })
  const show = await createShow(cluster, capacity)
  const buyer = await createBuyer(cluster)
  const clients = cluster.replicas.map(({ url }) => elsewhere(buyer, url))
  const orderEverywhere = async (times: number) => {
    const answers = await Promise.all(
      clients.flatMap((client) => Array.from({ length: times }, () => order(client, show))),
    )
    return answers.filter((answer) => expectStatus(answer, 201)).length
  }
  const early = await orderEverywhere(size.idle)
  await until('they are confirmed', async () => (await confirmed(cluster)) === early)
  progress(1, 4)

  await cluster.payments.behave({ latencyMs: 500 }) // so that jobs wait when it begins
  const waiting = await orderEverywhere(1)
  for (const proxy of [cluster.redisProxy, cluster.cacheRedisProxy, cluster.postgresProxy]) proxy.silence()
  const since = performance.now()
  await cluster.payments.behave({})
  const before = early + waiting
  const watching = clients.map((client) => watchOrders({ client, show, since, watchMs, patienceMs }))
  const [watched, workerMs, degraded] = await Promise.all([
    Promise.all(watching),
    untilConfirmed(cluster, early + 1, since, watchMs),
    countDegraded(cluster, since + Math.min(5000, watchMs)),
  ])
  progress(2, 4)
  const readiness = await Promise.all(cluster.replicas.map(({ internalUrl }) => readyz(internalUrl)))
  const confirmedThen = await confirmed(cluster)
  progress(3, 4)
  const sum = (of: 'accepted' | 'unanswered') => watched.reduce((total, one) => total + one[of], 0)
  const seen = {
    before,
    accepted: sum('accepted'),
    waiting: sum('unanswered'),
    recoveryMs: Math.max(...watched.map(({ recoveryMs }) => recoveryMs)),
    workerMs,
    degraded,
    ready: readiness.filter(({ status }) => status === 200).length,
    confirmed: confirmedThen - early,
  }
  if (parts) return { ...seen, confirmedAtLast: 0, charges: 0, sold: 0 }
  const orders = before + seen.accepted
  const last = await untilQuiet({ cluster, buyer, orders, quietMs: 12_000, progress: () => undefined })
  const { available } = expectStatus(await buyer.get(show), 200).body
  return { ...seen, confirmedAtLast: last.confirmed, charges: last.charges, sold: capacity - available }
}

/** How many orders are, by the database itself. */
function confirmed({ databaseUrl }: Cluster): Promise<number> {
  return withClient(databaseUrl, async (client) => {
    const { rows } = await client.query("SELECT count(*)::int AS count FROM orders WHERE status = 'confirmed'")
    return rows[0].count
  })
}

async function untilConfirmed(cluster: Cluster, orders: number, since: number, watchMs: number): Promise<number> {
  while (performance.now() < since + watchMs && (await confirmed(cluster)) < orders) await wait(50)
  return performance.now() - since
}

/** Replicas whose `/readyz` says until then, at least once, that something is missing. */
async function countDegraded({ replicas }: Cluster, until: number): Promise<number> {
  const seen = await Promise.all(
    replicas.map(async ({ internalUrl }) => {
      while (performance.now() < until) {
        const { body } = await readyz(internalUrl)
        if (body?.degraded.includes('redis')) return true
        await wait(50)
      }
      return false
    }),
  )
  return seen.filter(Boolean).length
}

const readyz = (internalUrl: string) => createClient(internalUrl, { keepAlive: false }).get('/readyz')
