import { setTimeout as wait } from 'node:timers/promises'
import { queueName } from '@escala/kit/jobs/queue'
import type { Cluster } from '@escala/testing/cluster'
import { withClient } from '@escala/testing/test-database'
import { Redis } from 'ioredis'
import type { Client } from 'pg'
import { until } from '../recovery.ts'

// No worker has a handler for it: what is looked at here is how it gets into the queue.
const type = 'lab.step'
const add = `INSERT INTO outbox (type, aggregate, payload)
  SELECT $1, aggregate, to_json(n) FROM unnest($2::text[]) AS aggregate, generate_series(1, $3) AS n ORDER BY n`
const aggregates = Array.from({ length: 10 }, (_, index) => `lab-${index}`)
const each = 20

/** Kills every relay while it hands messages over; others begin with the same ones. */
export async function killRelays({ databaseUrl, redisUrl, redisProxy, workers }: Cluster) {
  const redis = new Redis(redisUrl)
  redisProxy.delay(30) // so that a batch takes a second
  try {
    return await withClient(databaseUrl, async (client) => {
      await client.query(add, [type, aggregates, each])
      let before: Added[] = []
      await until('messages are in the queue', async () => {
        before = await readAdded(redis)
        return before.length >= aggregates.length
      })
      await Promise.all(workers.map((worker) => worker.kill()))
      before = await readAdded(redis)
      const unmarked = before.length - (await countMarked(client))
      await Promise.all(workers.map((worker) => worker.restart()))
      await until('all are marked', async () => (await countMarked(client)) === aggregates.length * each)
      const added = await readAdded(redis)
      return {
        unmarked,
        copies: added.length - aggregates.length * each,
        overtaken: await countOvertaken(client, added),
      }
    })
  } finally {
    redis.disconnect()
    await redisProxy.heal()
  }
}

interface Added {
  jobId: string
}

/** What BullMQ says it has taken, in its order; of a job whose id it knew it says something else. */
async function readAdded(redis: Redis): Promise<Added[]> {
  const { prefix, name } = queueName({})
  const entries = await redis.xrange(`${prefix}:${name}:events`, '-', '+')
  const events = entries.map(([, fields]) => Object.fromEntries(pairs(fields)))
  return events.filter((event) => event.event === 'added' && event.name === type).map(({ jobId = '' }) => ({ jobId }))
}

const pairs = (fields: string[]) =>
  fields.flatMap((field, at) => (at % 2 === 0 ? [[field, fields[at + 1] ?? ''] as const] : []))

async function countMarked(client: Client): Promise<number> {
  const text = `SELECT count(*)::int AS marked FROM outbox WHERE type = $1 AND published_at IS NOT NULL AND aggregate LIKE 'lab-%'`
  return (await client.query<{ marked: number }>(text, [type])).rows[0]?.marked ?? 0
}

/** Messages that came into the queue after a later one of their aggregate. */
async function countOvertaken(client: Client, added: Added[]): Promise<number> {
  const { rows } = await client.query<{ id: string; aggregate: string; position: string }>(
    'SELECT id, aggregate, position FROM outbox WHERE type = $1',
    [type],
  )
  const messages = new Map(rows.map((row) => [`${type}-${row.id}`, row]))
  const highest = new Map<string, number>()
  let overtaken = 0
  for (const { jobId } of added) {
    const { aggregate, position } = messages.get(jobId) ?? { aggregate: '', position: '0' }
    if (Number(position) < (highest.get(aggregate) ?? 0)) overtaken++
    highest.set(aggregate, Math.max(Number(position), highest.get(aggregate) ?? 0))
  }
  return overtaken
}

/** A message is held, as by a relay that stands still in the middle of its batch. How many of the others wait for it? */
export async function holdOne({ databaseUrl, workers }: Cluster): Promise<number> {
  const others = Array.from({ length: 10 }, (_, index) => `other-${index}`)
  return await withClient(databaseUrl, async (client) => {
    const unpublished = async () => {
      const text = 'SELECT count(*)::int AS waiting FROM outbox WHERE published_at IS NULL AND aggregate = ANY ($1)'
      return (await client.query<{ waiting: number }>(text, [others])).rows[0]?.waiting ?? 0
    }
    await Promise.all(workers.map((worker) => worker.pause())) // so that none of them is quicker than the one that holds it
    await client.query(add, [type, ['held', ...others], 1])
    await client.query('SET idle_in_transaction_session_timeout = 0')
    await client.query('BEGIN')
    await client.query(`SELECT FROM outbox WHERE aggregate = 'held' FOR UPDATE`)
    await Promise.all(workers.map((worker) => worker.resume()))
    let waiting = others.length
    for (const end = performance.now() + 5000; waiting > 0 && performance.now() < end; await wait(20)) {
      waiting = await unpublished()
    }
    await client.query('ROLLBACK')
    return waiting
  })
}
