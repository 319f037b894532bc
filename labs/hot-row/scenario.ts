import { check, defineLab } from '../lab.ts'
import { type Sale, sell } from './sale.ts'
import { sellOut } from './sell-out.ts'

interface Size {
  /** What the naive half sells; the fixed half sells ten times as many. */
  orders: number
  /** Orders that want more tickets than there are. */
  crowd: number
}

export const lab = defineLab<Size>({
  slug: 'hot-row',
  sample: true,
  problem: 'A popular sale is as slow as one row’s lock, however many replicas there are.',
  replicas: { min: 2, max: 8 },
  sizes: { full: { orders: 120, crowd: 400 }, test: { orders: 30, crowd: 120 } },
  halves: {
    problem: {
      title: (replicas) => `with a Redis lock for each show, ${replicas} replicas sell one order after another`,
      async run({ cluster, size, progress }) {
        const sale = await sell({
          cluster,
          progress,
          orders: size.orders,
          parts: new URL('./naive.ts', import.meta.url),
        })
        return [
          check('orders in the time of one round trip to Postgres', sale.perRoundTrip, { atMost: 0.13 }),
          check('an order when there is no other, in such round trips', sale.alone, { atLeast: 8 }),
          check('updates of the row for each order', sale.updates / sale.placed, { equals: 1 }),
          ...exact(sale),
        ]
      },
    },
    fix: {
      title: (replicas) => `with the orders that wait in one statement, ${replicas} replicas sell ten times as many`,
      async run({ cluster, size, progress }) {
        const sale = await sell({ cluster, progress, orders: size.orders * 10 })
        const last = await sellOut(sale.cluster, size.crowd)
        return [
          check('orders in the time of one round trip to Postgres', sale.perRoundTrip, { atLeast: 1.3 }),
          check('an order when there is no other, in such round trips', sale.alone, { atMost: 4 }),
          check('updates of the row for each order', sale.updates / sale.placed, { atMost: 0.4 }),
          ...exact(sale),
          check('last tickets, a replica killed: sold beyond them', last.oversold, { equals: 0 }),
          check('confirmed orders that are missing', last.lost, { equals: 0 }),
          check('orders without a request, or twice', last.doubled, { equals: 0 }),
          check('orders refused although there were tickets', last.refused, { equals: 0 }),
        ]
      },
    },
  },
})

const exact = ({ asked, placed, sold, complete, copies }: Sale) => [
  check('orders placed, of those that were sent', placed === asked ? 'all' : placed, { equals: 'all' }),
  check('tickets sold, less those in orders', sold - placed, { equals: 0 }),
  check('orders without a message or a stored response', placed - complete, { equals: 0 }),
  check('second orders under the same key', copies, { equals: 0 }),
]
