import { setTimeout as wait } from 'node:timers/promises'
import type { Client, ClientAnswer } from '@escala/testing/client'
import pg from 'pg'
import { order } from '../shop.ts'

export interface Interruption {
  cluster: { databaseUrl: string }
  client: Client
  show: string
  key: string
}

/**
 * Orders, and calls `stop` when the order's transaction is in its middle: the row of the show is held until the order waits
 * for it, and let go when the replica has stopped. Resolves then; what becomes of the request comes later.
 */
export async function interruptOrder(
  { cluster, client, show, key }: Interruption,
  stop: () => Promise<void>,
): Promise<{ answer: Promise<ClientAnswer> }> {
  const database = new pg.Client({ connectionString: cluster.databaseUrl })
  await database.connect()
  try {
    await database.query('BEGIN')
    await database.query('SELECT FROM shows WHERE id = $1 FOR UPDATE', [show.split('/').at(-1)])
    const answer = order(client, show, key)
    while (!(await somebodyWaits(database))) await wait(5)
    await stop()
    await database.query('COMMIT')
    return { answer }
  } finally {
    await database.end()
  }
}

async function somebodyWaits(database: pg.Client): Promise<boolean> {
  const { rowCount } = await database.query(
    `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
  )
  return rowCount === 1
}
