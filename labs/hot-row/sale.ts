import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import type { Client } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { withClient } from '@escala/testing/test-database'
import type { LabContext } from '../lab.ts'
import { createBuyer, createShow, order } from '../shop.ts'

// So that round trips to Postgres decide, and not the cores of one machine.
const delayMs = 10
const roundTripMs = 2 * delayMs
const buyers = 6
const inFlight = 30

export interface Sale {
  cluster: Cluster
  asked: number
  placed: number
  perRoundTrip: number
  /** How long an order takes that meets no other, in round trips. */
  alone: number
  updates: number
  sold: number
  complete: number
  copies: number
}

interface Options extends Pick<LabContext<unknown>, 'cluster' | 'progress'> {
  orders: number
  parts?: URL
}

/** Sells so many orders of one show, one ticket each; then one order after another. */
export async function sell({ cluster: start, progress, orders, parts }: Options): Promise<Sale> {
  const cluster = await start({ parts, faults: true, env: { DB_CONNECTIONS: '60' } })
  const show = await createShow(cluster)
  const users = await Promise.all(Array.from({ length: buyers }, () => createBuyer(cluster)))
  const [first] = users as [Client]
  cluster.postgresProxy.delay(delayMs)
  const keys = Array.from({ length: orders }, () => randomUUID())
  const ids = new Set<string>()
  const startedAt = performance.now()
  await inTurns(keys, inFlight, async (key, at) => {
    const { body } = await untilAnswered(() => order(users[at % buyers] as Client, show, key))
    ids.add(body.id)
    progress(ids.size, orders)
  })
  const perRoundTrip = orders / ((performance.now() - startedAt) / roundTripMs)
  const times: number[] = []
  for (let at = 0; at < 9; at++) {
    const sentAt = performance.now()
    const { body } = await untilAnswered(() => order(first, show))
    times.push(performance.now() - sentAt)
    ids.add(body.id)
  }
  const alone = (times.toSorted((a, b) => a - b)[4] as number) / roundTripMs
  const again = await order(first, show, keys[0])
  await cluster.postgresProxy.heal()
  for (const user of users) user.close()
  const asked = orders + times.length
  const copies = ids.has(again.body.id) ? 0 : 1
  return { cluster, asked, placed: ids.size, perRoundTrip, alone, copies, ...(await account(cluster, show)) }
}

/** Does `work` for each item, so many at a time. */
export async function inTurns<T>(items: T[], atOnce: number, work: (item: T, at: number) => Promise<void>) {
  const left = items.entries()
  const one = async () => {
    for (const [at, item] of left) await work(item, at)
  }
  await Promise.all(Array.from({ length: atOnce }, one))
}

/** As clients do: comes again under the same key until the order is placed or there are no tickets. */
export async function untilAnswered(send: () => ReturnType<typeof order>): ReturnType<typeof order> {
  for (let tries = 1; ; tries++) {
    const answer = await send()
    if (answer.status === 201 || answer.body?.code === 'E_SOLD_OUT') return answer
    if (tries === 100) throw new Error(`an order was never answered: ${answer.status} ${JSON.stringify(answer.body)}`)
    await wait(50)
  }
}

async function account({ databaseUrl }: Cluster, show: string) {
  const id = show.split('/').at(-1)
  return withClient(databaseUrl, async (client) => {
    const { rows } = await client.query(
      `SELECT revision::int AS updates, capacity - available AS sold,
        (SELECT count(*)::int FROM orders JOIN outbox ON aggregate = orders.id::text
          JOIN idempotency_keys ON body->>'id' = orders.id::text WHERE show_id = shows.id) AS complete
       FROM shows WHERE id = $1`,
      [id],
    )
    return rows[0] as { updates: number; sold: number; complete: number }
  })
}
