import { setTimeout as wait } from 'node:timers/promises'
import type { Cluster } from '@escala/testing/cluster'
import { withClient } from '@escala/testing/test-database'
import pg from 'pg'
import { until } from '../recovery.ts'

export interface Fault {
  begin(cluster: Cluster, show: string): Promise<unknown>
  end(cluster: Cluster): Promise<unknown>
}

export type FaultName = 'terminated' | 'restarted' | 'refused' | 'hung' | 'used up' | 'locked'

const name = 'somebody else'

export function createFaults(): Record<FaultName, Fault> {
  const others: pg.Client[] = []
  const heal = ({ postgresProxy }: Cluster) => postgresProxy.heal()
  const leave = () => Promise.all(others.splice(0).map((client) => client.end()))
  return {
    /** Every connection, as a failover does; new ones are taken at once. Many times, to meet each moment of a connection. */
    terminated: { begin: ({ databaseUrl }) => terminateAll(databaseUrl, 30), end: async () => undefined },
    restarted: {
      async begin({ postgresProxy, databaseUrl }) {
        await postgresProxy.refuse()
        await crash(databaseUrl)
      },
      async end({ postgresProxy, databaseUrl }) {
        await until('Postgres is up', () => accepts(databaseUrl))
        await postgresProxy.heal()
      },
    },
    refused: { begin: ({ postgresProxy }) => postgresProxy.refuse(), end: heal },
    hung: { begin: async ({ postgresProxy }) => postgresProxy.hang(), end: heal },
    'used up': { begin: ({ databaseUrl }) => takeAll(databaseUrl, others), end: leave },
    locked: { begin: async ({ databaseUrl }, show) => void others.push(await lock(databaseUrl, show)), end: leave },
  }
}

export async function terminateAll(databaseUrl: string, times = 1): Promise<void> {
  await withClient(databaseUrl, async (client) => {
    for (let time = 0; time < times; time++) {
      if (time > 0) await wait(20)
      await terminate(client)
    }
  })
}

/** A forgotten transaction. */
export async function lock(databaseUrl: string, show: string): Promise<pg.Client> {
  const client = await connect(databaseUrl)
  await client.query('SET idle_in_transaction_session_timeout = 0')
  await client.query('BEGIN')
  await client.query('SELECT FROM shows WHERE id = $1 FOR UPDATE', [show.replace('/v1/shows/', '')])
  return client
}

/** One backend dies, so the server ends all others, and recovers from its log. */
async function crash(databaseUrl: string): Promise<void> {
  const client = await connect(databaseUrl)
  const { rows } = await client.query('SELECT pg_backend_pid() AS pid')
  await client.query(`COPY (SELECT 1) TO PROGRAM 'kill -9 ${Number(rows[0].pid)}'`).catch(() => undefined)
}

async function accepts(databaseUrl: string): Promise<boolean> {
  return await withClient(databaseUrl, (client) => client.query('SELECT')).then(
    () => true,
    () => false,
  )
}

/** All that the server has, also those of the replicas, which get none back. */
async function takeAll(databaseUrl: string, taken: pg.Client[]): Promise<void> {
  for (let refused = 0; refused < 20; ) {
    await connect(databaseUrl).then(
      (client) => taken.push(client),
      () => refused++,
    )
    if (refused > 0 && taken[0]) await terminate(taken[0])
  }
}

async function terminate(client: pg.Client): Promise<void> {
  await client.query(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE datname = current_database() AND application_name <> $1 AND pid <> pg_backend_pid()`,
    [name],
  )
}

async function connect(databaseUrl: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: databaseUrl, application_name: name })
  client.on('error', () => undefined)
  await client.connect()
  return client
}
