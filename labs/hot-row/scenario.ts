import { randomUUID } from 'node:crypto'
import type { Cluster } from '@escala/testing/cluster.ts'
import { withClient } from '@escala/testing/test-database.ts'
import { check, defineLab, type LabContext } from '../lab.ts'
import { createBuyer, createShow, order } from '../shop.ts'

interface Size {
  /** What the naive half sells; the fixed half sells ten times as many. */
  orders: number
}

// So that not the machine's cores decide, but how often somebody waits for Postgres while the row is locked.
const delayMs = 10
const roundTripMs = 2 * delayMs
const buyers = 9
const inFlight = 90

export const lab = defineLab<Size>({
  slug: 'hot-row',
  problem: 'A sale that everybody wants is as slow as one row’s lock, however many replicas there are.',
  replicas: { min: 2, max: 8 },
  sizes: { full: { orders: 120 }, test: { orders: 30 } },
  halves: {
    problem: {
      title: (replicas) => `with a Redis lock for each show, ${replicas} replicas sell one order after the other`,
      async run(context) {
        const sale = await sell(context, context.size.orders, new URL('./naive.ts', import.meta.url))
        return [
          check('orders in the time of one round trip to Postgres', sale.perRoundTrip, { atMost: 1 / 6 }),
          check('updates of the row for each order', sale.updates / sale.placed, { equals: 1 }),
          ...exact(sale),
        ]
      },
    },
    fix: {
      title: (replicas) => `with the orders that wait in one statement, ${replicas} replicas sell ten times as many`,
      async run(context) {
        const sale = await sell(context, context.size.orders * 10)
        return [
          check('orders in the time of one round trip to Postgres', sale.perRoundTrip, { atLeast: 10 / 6 }),
          check('updates of the row for each order', sale.updates / sale.placed, { atMost: 1 / 3 }),
          ...exact(sale),
        ]
      },
    },
  },
})

interface Sale {
  asked: number
  placed: number
  perRoundTrip: number
  updates: number
  sold: number
  complete: number
  copies: number
}

const exact = ({ asked, placed, sold, complete, copies }: Sale) => [
  check('orders placed, of those that were sent', placed === asked ? 'all' : placed, { equals: 'all' }),
  check('tickets sold, less those in orders', sold - placed, { equals: 0 }),
  check('orders without a message or a stored answer', placed - complete, { equals: 0 }),
  check('second orders under the same key', copies, { equals: 0 }),
]

async function sell({ cluster: start, progress }: LabContext<Size>, orders: number, naive?: URL): Promise<Sale> {
  const cluster = await start({ naive, faults: true, env: { DB_CONNECTIONS: '60' } })
  const show = await createShow(cluster)
  const users = await Promise.all(Array.from({ length: buyers }, () => createBuyer(cluster)))
  cluster.postgresProxy.delay(delayMs)
  const keys = Array.from({ length: orders }, () => randomUUID())
  const ids = new Map<string, string>()
  let next = 0
  const startedAt = performance.now()
  await Promise.all(
    Array.from({ length: inFlight }, async (_, at) => {
      for (let mine = next++; mine < orders; mine = next++) {
        const user = users[at % buyers] as (typeof users)[0]
        const { status, body } = await order(user, show, keys[mine])
        if (status === 201) ids.set(keys[mine] as string, body.id)
        progress(ids.size, orders)
      }
    }),
  )
  const perRoundTrip = orders / ((performance.now() - startedAt) / roundTripMs)
  await cluster.postgresProxy.heal()
  const copies = await askAgain(ids, () => order(users[0] as (typeof users)[0], show, keys[0]))
  for (const user of users) user.close()
  return { asked: orders, placed: ids.size, perRoundTrip, copies, ...(await account(cluster, show)) }
}

/** The first order was the first user's. */
async function askAgain(ids: Map<string, string>, again: () => ReturnType<typeof order>): Promise<number> {
  const { body } = await again()
  return [...ids.values()].includes(body.id) ? 0 : 1
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
