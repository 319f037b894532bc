import { setTimeout as wait } from 'node:timers/promises'
import type { Client } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { withClient } from '@escala/testing/test-database'
import { elsewhere, order } from '../shop.ts'

interface Write {
  at: number
  status: number
  /** SQLSTATE or code of the problem. */
  told: string
}

/** One client for each replica, which orders one ticket after the other. */
export function startWriters({ replicas }: Cluster, buyer: Client, show: string) {
  const writes: Write[] = []
  const accepted: string[] = []
  let running = true
  const clients = replicas.map(({ url }) => elsewhere(buyer, url))
  const all = clients.map(async (client) => {
    while (running) {
      const { status, body, error } = await order(client, show)
      writes.push({ at: performance.now(), status, told: error ?? body?.code ?? '' })
      if (status === 201) accepted.push(body.id)
      await wait(50)
    }
    client.close()
  })
  return {
    /** Ids of the orders that have got a 201 so far. */
    accepted,
    failedSince: (at: number) => writes.filter((write) => write.at > at && write.status !== 201).length,
    acceptedSince: (at: number) => writes.filter((write) => write.at > at && write.status === 201).length,
    wrong: () =>
      [...new Set(writes.filter(({ status }) => status !== 201).map(({ status, told }) => `${status} ${told}`))]
        .filter((answer) => answer !== '503 E_POSTGRES_UNAVAILABLE')
        .join(', ') || 'none',
    async stop() {
      running = false
      await Promise.all(all)
    },
  }
}

/** The database of this cluster on one of its two servers. */
export function databaseAt(serverUrl: string, { databaseUrl }: Cluster): string {
  const url = new URL(serverUrl)
  url.pathname = new URL(databaseUrl).pathname
  return url.href
}

/** How many connections of API and worker there are at the demoted server. */
export async function connectedToDemoted(cluster: Cluster): Promise<number> {
  return await withClient(databaseAt(cluster.postgresPair.standbyUrl(), cluster), async (client) => {
    const { rows } = await client.query(
      `SELECT count(*)::int AS n FROM pg_stat_activity
       WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()`,
    )
    return rows[0].n
  })
}

/** How many of these orders are not there. */
export async function missing(cluster: Cluster, ids: string[]): Promise<number> {
  return await withClient(databaseAt(cluster.postgresPair.primaryUrl(), cluster), async (client) => {
    const { rows } = await client.query('SELECT count(*)::int AS n FROM orders WHERE id = ANY ($1::uuid[])', [ids])
    return ids.length - rows[0].n
  })
}
