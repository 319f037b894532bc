import { setTimeout as wait } from 'node:timers/promises'
import type { Client } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { postgresSettings } from '@escala/testing/environment'
import { withClient } from '@escala/testing/test-database'
import { check, defineLab } from '../lab.ts'
import { until } from '../recovery.ts'
import { createBuyer, createShow } from '../shop.ts'
import { connectedToDemoted, databaseAt, missing, startWriters } from './writers.ts'

interface Size {
  /** For so long the address leads to the demoted server. */
  readOnlyMs: number
  /** After so long nothing may fail any more. */
  graceMs: number
  /** For so long it is watched after that. */
  watchMs: number
}

const env = { DB_CONNECTIONS: '60' }
const workerEnv = { ...env, ORDER_STUCK_MS: '2000', JOB_BACKOFF_MS: '200' }
const settings = {
  ...postgresSettings,
  max_connections: '80',
  synchronous_standby_names: '*',
  synchronous_commit: 'on',
}

export const lab = defineLab<Size>({
  slug: 'failover',
  sample: true,
  problem:
    'After a switch to another Postgres, replicas stay connected to the old one, and their writes fail for ever.',
  localOnly: 'It needs a Postgres with a standby, and an address that changes.',
  sizes: {
    full: { readOnlyMs: 8000, graceMs: 5000, watchMs: 20_000 },
    test: { readOnlyMs: 1000, graceMs: 2000, watchMs: 500 },
  },
  halves: {
    problem: {
      title: (replicas) => `with a default pool, ${replicas} replicas write to a read-only server for ever`,
      async run({ cluster: start, size, progress }) {
        const database = { settings, standby: true }
        const cluster = await start({ faults: true, database, env, parts: new URL('./naive.ts', import.meta.url) })
        const writers = startWriters(cluster, await createBuyer(cluster), await createShow(cluster))
        await until('all writers write', () => writers.accepted.length > 10)
        const movedAt = await switchOver(cluster, size)
        progress(1, 2)
        await wait(size.graceMs + size.watchMs)
        await writers.stop()
        const late = movedAt + size.graceMs
        return [
          check(`writes that failed later than ${size.graceMs} ms after the move`, writers.failedSince(late), {
            atLeast: 3,
          }),
          check('writes that worked by then', writers.acceptedSince(late), { equals: 0 }),
          check('connections to the demoted server', await connectedToDemoted(cluster), { atLeast: 1 }),
          check('replicas that report themselves ready', await ready(cluster), { equals: cluster.replicas.length }),
        ]
      },
    },
    fix: {
      title: (replicas) => `with ${replicas} replicas, a switchover is over within seconds, for the worker too`,
      async run({ cluster: start, size, progress }) {
        const cluster = await start({ faults: true, workers: 1, database: { settings, standby: true }, env, workerEnv })
        const buyer = await createBuyer(cluster)
        const show = await createShow(cluster)
        const writers = startWriters(cluster, buyer, show)
        await until('all writers write', () => writers.accepted.length > 10)
        const movedAt = await switchOver(cluster, size)
        const late = movedAt + size.graceMs
        await wait(size.graceMs)
        const connected = await connectedToDemoted(cluster)
        await wait(size.watchMs)
        const [failed, worked] = [writers.failedSince(late), writers.acceptedSince(late)]
        await writers.stop()
        await confirmed(buyer, writers.accepted.slice(-3))
        const planned = { accepted: writers.accepted.length, missing: await missing(cluster, writers.accepted) }
        progress(1, 3)
        const synchronous = await crash(cluster, buyer, show)
        progress(2, 3)
        await withoutWaiting(cluster)
        const asynchronous = await crash(cluster, buyer, show)
        progress(3, 3)
        return [
          check(`writes that failed later than ${size.graceMs} ms after the move`, failed, { equals: 0 }),
          check('writes that worked by then', worked, { atLeast: 3 }),
          check('connections to the demoted server', connected, { equals: 0 }),
          check('responses other than 201 and 503', writers.wrong(), { equals: 'none' }),
          check('planned: orders accepted', planned.accepted, { atLeast: 10 }),
          check('planned: of them lost', planned.missing, { equals: 0 }),
          check('killed, synchronous: orders accepted', synchronous.accepted, { atLeast: 3 }),
          check('killed, synchronous: of them lost', synchronous.missing, { equals: 0 }),
          check('killed, asynchronous: orders accepted', asynchronous.accepted, { atLeast: 3 }),
          check('killed, asynchronous: of them lost', asynchronous.missing, { atLeast: 1 }),
        ]
      },
    },
  },
})

/** Resolves with the moment at which the address leads to the new primary. */
async function switchOver({ postgresPair, postgresProxy }: Cluster, { readOnlyMs }: Size): Promise<number> {
  await postgresPair.switchOver()
  await wait(readOnlyMs) // name servers, proxies and clouds need so long: that is the fault
  postgresProxy.lead(postgresPair.primaryUrl())
  return performance.now()
}

/** The primary dies at a moment at which its standby is behind. */
async function crash(cluster: Cluster, buyer: Client, show: string) {
  const { postgresPair, postgresProxy } = cluster
  const writers = startWriters(cluster, buyer, show)
  await until('all writers write', () => writers.accepted.length > 3)
  postgresPair.holdReplication()
  await wait(500) // what is committed now, only the primary knows
  await postgresPair.failOver()
  postgresProxy.lead(postgresPair.primaryUrl())
  const accepted = [...writers.accepted]
  await until('all writers write again', () => writers.accepted.length > accepted.length + 3)
  await writers.stop()
  return { accepted: accepted.length, missing: await missing(cluster, accepted) }
}

/** From now on a commit does not wait for the standby: asynchronous replication, as it is by default. */
async function withoutWaiting(cluster: Cluster): Promise<void> {
  await withClient(databaseAt(cluster.postgresPair.primaryUrl(), cluster), async (client) => {
    const name = client.escapeIdentifier(new URL(cluster.databaseUrl).pathname.slice(1))
    await client.query(`ALTER DATABASE ${name} SET synchronous_commit = 'local'`)
    await client.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`,
    )
  })
}

/** The worker has found the new primary, too: relay, jobs and heartbeat. */
async function confirmed(buyer: Client, ids: string[]): Promise<void> {
  for (const id of ids) {
    await until('the order is confirmed', async () => (await buyer.get(`/v1/orders/${id}`)).body.status === 'confirmed')
  }
}

async function ready({ replicas }: Cluster): Promise<number> {
  return (await Promise.all(replicas.map(({ internalUrl }) => isReady(internalUrl)))).filter(Boolean).length
}

const isReady = async (internalUrl: string) => (await fetch(`${internalUrl}/readyz`)).ok
