import { setTimeout as wait } from 'node:timers/promises'
import type { ClientAnswer } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { postgresSettings } from '@escala/testing/environment'
import { withClient } from '@escala/testing/test-database'
import { type Check, check, defineLab } from '../lab.ts'
import { until } from '../recovery.ts'
import { addShow, createBuyer, createOrganiser, createShow, elsewhere, order, untilQuiet } from '../shop.ts'
import { keepOrdering } from './buyers.ts'
import { orderInConflict } from './conflicts.ts'
import { createFaults, type FaultName, lock, terminateAll } from './faults.ts'
import { outage } from './outage.ts'

interface Size {
  faults: FaultName[]
  /** Clients that order one ticket after the other, all the time. */
  buyers: number
  /** How long each outage lasts. */
  outageMs: number
  /** How long a client of the naive half waits. */
  patienceMs: number
  /** For a request; in tests twice of what is promised, since other tests run beside this one. */
  maxMs: number
}

const capacity = 100_000
const naivePool = 10
const env = { DB_CONNECTIONS: '40' }
const workerEnv = { ...env, ORDER_STUCK_MS: '2000', JOB_BACKOFF_MS: '200' }
// With `synchronous_commit = off`, a server that crashes forgets what it has said was committed.
const settings = { ...postgresSettings, max_connections: '60', synchronous_commit: 'on' }

export const lab = defineLab<Size>({
  slug: 'postgres-outage',
  sample: true,
  problem: 'A failover of the database ends every replica, and a database that hangs holds every request for ever.',
  sizes: {
    full: {
      faults: ['terminated', 'restarted', 'refused', 'hung', 'used up', 'locked'],
      buyers: 10,
      outageMs: 6000,
      patienceMs: 20_000,
      maxMs: 2500,
    },
    test: {
      faults: ['terminated', 'restarted', 'hung', 'used up'],
      buyers: 3,
      outageMs: 800,
      patienceMs: 2000,
      maxMs: 5000,
    },
  },
  halves: {
    problem: {
      title: (replicas) =>
        `with a default pool, a failover ends ${replicas} replicas, and a full pool is waited for without end`,
      async run({ cluster: start, size, replicas, progress }) {
        // Neither Express nor a proxy with default settings has a deadline of ten seconds.
        const cluster = await start({
          faults: true,
          parts: new URL('./naive.ts', import.meta.url),
          // What hung is never answered, and a replica that ends would wait for it.
          env: { REQUEST_TIMEOUT_MS: '120000', DRAIN_DEADLINE_MS: '1000' },
        })
        await removeLimits(cluster)
        const organiser = await createOrganiser(cluster)
        const [show, other] = [await addShow(organiser, capacity), await addShow(organiser, capacity)]
        organiser.close()
        const buyer = await createBuyer(cluster)
        const direct = cluster.replicas.map(({ url }) => elsewhere(buyer, url))
        const orderEverywhere = (wanted: string) => direct.map((client) => order(client, wanted))
        const before = await Promise.all(orderEverywhere(show))
        progress(1, 4)

        const holder = await lock(cluster.databaseUrl, show)
        const blocked = direct.flatMap((client) => Array.from({ length: naivePool }, () => order(client, show)))
        await wait(200) // so that they are there before those who want something else
        const full = await unanswered(orderEverywhere(other), size.patienceMs)
        await holder.end()
        await Promise.all(blocked)
        progress(2, 4)

        cluster.postgresProxy.hang()
        const hung = await unanswered(orderEverywhere(show), size.patienceMs)
        await cluster.postgresProxy.heal()
        progress(3, 4)

        await until(
          'pools have an idle connection',
          async () => count(await Promise.all(orderEverywhere(show)), 201) === replicas,
        )
        await terminateAll(cluster.databaseUrl)
        await Promise.race([until('replicas end', () => running(cluster) === 0), wait(5000)])
        progress(4, 4)
        return [
          check('orders accepted before', count(before, 201), { equals: replicas }),
          check(`pool full: orders not answered after ${size.patienceMs} ms`, full, { equals: replicas }),
          check(`hung: orders not answered after ${size.patienceMs} ms`, hung, { equals: replicas }),
          check('connections terminated: replicas that ended', replicas - running(cluster), { equals: replicas }),
        ]
      },
    },
    fix: {
      title: (replicas) =>
        `with ${replicas} replicas, an outage of the database is a 503 in time, and recovery is automatic`,
      async run({ cluster: start, size, progress }) {
        const cluster = await start({ faults: true, workers: 1, database: { settings }, env, workerEnv })
        const pids = pidsOf(cluster)
        const show = await createShow(cluster, capacity)
        const buyer = await createBuyer(cluster)
        const orders = keepOrdering(elsewhere(buyer, cluster.url), show, size.buyers)
        const checks: Check[] = []
        const faults = createFaults()
        let accepted = 0
        for (const [index, name] of size.faults.entries()) {
          const { recoveryChecks, placed } = await outage({ cluster, buyer, show }, { name, ...faults[name] }, size)
          checks.push(...recoveryChecks)
          accepted += placed
          progress(index + 1, size.faults.length + 1)
        }
        const conflicts = await orderInConflict(cluster, buyer, show)
        await orders.stop()
        accepted += orders.accepted() + conflicts.accepted
        const quiet = { cluster, buyer, orders: accepted, quietMs: 12_000, progress: () => undefined }
        const after = await untilQuiet(quiet)
        const { available } = (await buyer.get(show)).body
        return [
          ...checks,
          check('orders in conflict with others: responses other than 201 and 503', conflicts.wrong, {
            equals: 'none',
          }),
          check('orders all the while: responses other than 201 and 503', orders.seen.wrong(), { equals: 'none' }),
          check('the slowest of them, ms', orders.seen.slowestMs(), { atMost: size.maxMs }),
          check('with 503', orders.seen.refused(), { atLeast: 1 }),
          check('orders accepted', accepted, { atLeast: size.buyers * size.faults.length }),
          check('of them confirmed', after.confirmed, { equals: accepted }),
          check('charges', after.charges, { equals: accepted }),
          check('tickets sold', capacity - available, { equals: accepted }),
          check('processes that ended', pidsOf(cluster).filter((pid, at) => pid !== pids[at]).length, { equals: 0 }),
        ]
      },
    },
  },
})

/** The migrate step configures the database to end what takes too long; here that is undone. */
async function removeLimits({ databaseUrl }: Cluster): Promise<void> {
  await withClient(databaseUrl, async (client) => {
    const { rows } = await client.query('SELECT current_database() AS name')
    await client.query(`ALTER ROLE CURRENT_USER IN DATABASE ${client.escapeIdentifier(rows[0].name)} RESET ALL`)
  })
}

/** How many of them are not there when the time is up. */
async function unanswered(answers: Promise<ClientAnswer>[], ms: number): Promise<number> {
  const late = wait(ms, undefined)
  const first = await Promise.all(answers.map((answer) => Promise.race([answer, late])))
  return first.filter((answer) => answer === undefined).length
}

const count = (answers: ClientAnswer[], status: number) => answers.filter((answer) => answer.status === status).length

const running = ({ replicas }: Cluster) => replicas.filter((replica) => replica.running()).length

const pidsOf = ({ replicas, workers }: Cluster) =>
  [...replicas, ...workers].map((replica) => (replica.running() ? replica.pid : 0))
