import pg from 'pg'
import { check, defineLab, type LabContext } from '../lab.ts'
import { createBuyer, createShow, type Order, order } from '../shop.ts'

interface Size {
  orders: number
}

/** How many orders are under way at once. */
const concurrency = 20

export const lab = defineLab<Size>({
  slug: 'order-numbers',
  sample: true,
  problem: 'Two customers call about order 1042, and both are right.',
  sizes: { full: { orders: 3000 }, test: { orders: 300 } },
  halves: {
    problem: {
      title: (replicas) => `with a counter in each of ${replicas} replicas, different orders get the same number`,
      async run(context) {
        const { placed, numbers, ids } = await placeOrders(context, new URL('./naive.ts', import.meta.url))
        return [
          check('orders placed', placed, { equals: context.size.orders }),
          check('orders that share their number', placed - numbers, { atLeast: Math.round(placed / 3) }),
          check('orders that share their id', placed - ids, { equals: 0 }),
        ]
      },
    },
    fix: {
      title: (replicas) => `with a sequence in the database and ${replicas} replicas, each order has its own number`,
      async run(context) {
        const { placed, numbers, ids } = await placeOrders(context)
        return [
          check('orders placed', placed, { equals: context.size.orders }),
          check('orders that share their number', placed - numbers, { equals: 0 }),
          check('orders that share their id', placed - ids, { equals: 0 }),
        ]
      },
    },
  },
})

async function placeOrders({ cluster: start, size, progress }: LabContext<Size>, parts?: URL) {
  const cluster = await start({ parts })
  // The last line of defence would turn the symptom into answers of 500: it is taken away from both halves.
  await execute(cluster.databaseUrl, 'ALTER TABLE orders DROP CONSTRAINT orders_number')
  const show = await createShow(cluster)
  const buyer = await createBuyer(cluster)
  const orders: Order[] = []
  let sent = 0
  const buy = async () => {
    while (sent < size.orders) {
      sent++
      const { status, body } = await order(buyer, show)
      if (status === 201) orders.push(body)
      progress(orders.length, size.orders)
    }
  }
  await Promise.all(Array.from({ length: concurrency }, buy))
  buyer.close()
  return {
    placed: orders.length,
    numbers: new Set(orders.map(({ number }) => number)).size,
    ids: new Set(orders.map(({ id }) => id)).size,
  }
}

async function execute(databaseUrl: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    await client.query(sql)
  } finally {
    await client.end()
  }
}
