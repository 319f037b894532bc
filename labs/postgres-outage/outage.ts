import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { type Client, type ClientAnswer, createClient } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { withClient } from '@escala/testing/test-database'
import { check } from '../lab.ts'
import { isWell, until } from '../recovery.ts'
import { elsewhere, order } from '../shop.ts'
import { createSeen } from './buyers.ts'
import type { Fault } from './faults.ts'

interface Shop {
  cluster: Cluster
  buyer: Client
  show: string
}

interface Size {
  outageMs: number
  maxMs: number
}

/** What a client that reads from every replica sees while it lasts, and how long it takes until all is well. */
export async function outage(
  { cluster, buyer, show }: Shop,
  { name, begin, end }: Fault & { name: string },
  size: Size,
) {
  const seen = createSeen()
  let lasts = true
  const look = async (get: () => Promise<ClientAnswer>, ...right: string[]) => {
    while (lasts) {
      await seen.see(get(), '200', ...right)
      await wait(20)
    }
  }
  const replicas = cluster.replicas.map(({ url }) => createClient(url))
  const apis = cluster.replicas.map(({ internalUrl }) => createClient(internalUrl))
  const workers = cluster.workers.map(({ internalUrl }) => createClient(internalUrl))
  await begin(cluster, show)
  const lookers = [
    ...replicas.map((client) => look(() => client.get('/v1/shows'))),
    ...[...apis, ...workers].map((client) => look(() => client.get('/livez'))),
    ...apis.map((client) => look(() => client.get('/readyz'))),
    ...workers.map((client) => look(() => workerReadiness(client), missesHeartbeat)),
  ]
  await wait(size.outageMs) // what happens meanwhile is what is measured
  await end(cluster)
  const recovering = recovered(cluster, buyer, show)
  lasts = false
  await Promise.all(lookers)
  const { recoveryMs, placed } = await recovering
  for (const client of [...replicas, ...apis, ...workers]) client.close()
  const recoveryChecks = [
    check(`${name}: reads other than 200 and 503, or an API replica unready`, seen.wrong(), { equals: 'none' }),
    check(`${name}: the slowest, ms`, seen.slowestMs(), { atMost: size.maxMs }),
    check(`${name}: ms until all is well again`, recoveryMs, { atMost: 5000 }),
  ]
  return { recoveryChecks, placed }
}

const missesHeartbeat = '503 no heartbeat'

/** Gets a worker's `/readyz`. Three intervals without a heartbeat make it unready: the one reason that an outage may give it. */
async function workerReadiness(worker: Client): Promise<ClientAnswer> {
  const answer = await worker.get('/readyz')
  const reasons = Object.keys(answer.body?.reasons ?? {})
  return reasons.join() === 'heartbeat' ? { ...answer, error: 'no heartbeat' } : answer
}

/**
 * Milliseconds until every replica takes orders, every process is ready and has reported that to the registry, the outbox's relay listens
 * again, and what was ordered since is confirmed.
 */
async function recovered(cluster: Cluster, buyer: Client, show: string) {
  const startedAt = performance.now()
  const everybody = [...cluster.replicas, ...cluster.workers]
  const placed: string[] = []
  await Promise.all([
    ...cluster.replicas.map(async ({ id, url }) => {
      const direct = elsewhere(buyer, url)
      const key = randomUUID() // an order that got a 503 may have been placed
      await until(`${id} takes orders`, async () => {
        const { status, body } = await order(direct, show, key)
        if (status === 201) placed.push(body.id)
        return status === 201
      })
      direct.close()
    }),
    ...everybody.map(({ id, internalUrl }) => until(`${id} is well`, () => isWell(internalUrl))),
    withClient(cluster.databaseUrl, async (client) => {
      const { rows } = await client.query('SELECT now()')
      await until('every heart beats', async () => {
        const beating = await client.query('SELECT FROM replicas WHERE heartbeat_at > $1', [rows[0].now])
        return beating.rowCount === everybody.length
      })
      await until('the relay listens', async () => {
        const listening = await client.query(
          // An empty statement is how a listener finds out whether its connection still works.
          `SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '% listener'
             AND (query = '' OR query LIKE 'LISTEN %')`,
        )
        return listening.rowCount === cluster.workers.length
      })
    }),
  ])
  await Promise.all(
    placed.map((id) =>
      until('the order is confirmed', async () => (await buyer.get(`/v1/orders/${id}`)).body.status === 'confirmed'),
    ),
  )
  return { recoveryMs: performance.now() - startedAt, placed: placed.length }
}
