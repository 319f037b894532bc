import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { createClient } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { withClient } from '@escala/testing/test-database'
import { until } from '../recovery.ts'
import { path, table } from './transaction.ts'

/**
 * A replica stands still in the middle of a transaction, and the client tries again at another one. Here the role has no limit for
 * that: the one that counts is the transaction's own. Returns how often it was done, and how long the retry took.
 */
export async function standStill({ databaseUrl, replicas }: Cluster): Promise<{ deposits: number; retryMs: number }> {
  const [first, second] = replicas
  if (!first || !second) throw new Error('this lab needs 2 replicas')
  return await withClient(databaseUrl, async (database) => {
    await database.query(table)
    await database.query(`DO $$ BEGIN
      EXECUTE format('ALTER ROLE CURRENT_USER IN DATABASE %I SET idle_in_transaction_session_timeout = 0', current_database());
    END $$`)
    const others = 'datname = current_database() AND pid <> pg_backend_pid()'
    await database.query(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE ${others}`)

    const deposit = async (url: string, key: string = randomUUID()) => {
      const client = createClient(url, { timeoutMs: 15_000, keepAlive: false })
      return (await client.post(path, undefined, { 'Idempotency-Key': key })).status
    }
    for (const { url } of [first, second])
      await until('it has new connections', async () => (await deposit(url)) === 201)

    const key = randomUUID()
    const isIdle = `SELECT FROM pg_stat_activity WHERE ${others} AND state = 'idle in transaction' AND query LIKE '%lab_deposits%'`
    const answer = deposit(first.url, key)
    await until('the transaction is in its middle', async () => (await database.query(isIdle)).rowCount === 1)
    await first.pause()
    const startedAt = performance.now()
    while ((await deposit(second.url, key)) !== 201 && performance.now() - startedAt < 8000) await wait(50)
    const retryMs = performance.now() - startedAt
    await first.resume()
    await answer
    const text = 'SELECT count(*)::int AS deposits FROM lab_deposits WHERE key = $1'
    const { rows } = await database.query<{ deposits: number }>(text, [key])
    return { deposits: rows[0]?.deposits ?? 0, retryMs }
  })
}
