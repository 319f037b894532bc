import { randomUUID } from 'node:crypto'
import { createLog } from '@escala/kit/log/log'
import { createPostgres, type Postgres } from '@escala/kit/postgres/postgres'
import { templateDatabase } from '@escala/testing/template'
import { createTestDatabase } from '@escala/testing/test-database'
import { Redis } from 'ioredis'
import type { Bench, Measure } from '../measure.ts'
import { inTurns } from '../rounds.ts'
import { toRow } from '../rows.ts'
import { createWays, newOrder, type Sell, ways } from './hot-row-ways.ts'

const replicas = 3
const inFlight = 10
const plenty = 1_000_000
// Some of the statements that wait for the row are unlucky, and wait long on a busy machine.
const patienceMs = 60_000

/** Orders on one row that every buyer wants. Without HTTP: the row is what is slow, not the way to it. */
export const hotRow: Measure = {
  name: 'hot-row',
  title: `orders on one row, ${replicas} pools × ${inFlight} in flight; each way leaves stock, order, message, key and response`,
  async run(bench) {
    const shop = await openShop(bench)
    const names = [...ways, 'statement, alone', 'batch, alone']
    const { rounds, saleMs, scarce } = bench.size
    const measure = (name: string) => {
      const [way = '', isAlone] = name.split(', ')
      return shop.sale(way as Way, {
        stock: plenty,
        ms: isAlone ? saleMs * 0.6 : saleMs,
        isAlone: isAlone !== undefined,
      })
    }
    await inTurns(names, 1, bench.signal, measure) // connections, plans and V8
    const seen = await inTurns(names, rounds, bench.signal, measure)
    const soldOut = await inTurns([...ways], 1, bench.signal, (way) =>
      shop.sale(way as Way, { stock: scarce, ms: patienceMs, isAlone: false }),
    )
    await shop.close()
    const speed = ({ perSecond }: Sale) => perSecond
    const wrong = ways.flatMap((way) => [
      ...seen.of(way, ({ inexact }) => inexact),
      ...soldOut.of(way, ({ inexact }) => inexact),
    ])
    const oversold = ways.flatMap((way) => soldOut.of(way, ({ orders }) => orders - scarce))
    return {
      rows: [
        ...ways.map((way) => toRow(`orders a second, ${titles[way]}`, seen.of(way, speed))),
        toRow('FOR UPDATE to the Redis lock', seen.ratios('for update', 'lock', speed)),
        toRow('one statement to the Redis lock', seen.ratios('statement', 'lock', speed)),
        toRow('the batch to the Redis lock', seen.ratios('batch', 'lock', speed), { budget: { atLeast: 10 } }),
        toRow('one order at a time, batch to one statement', seen.ratios('batch, alone', 'statement, alone', speed), {
          budget: { atLeast: 0.95 },
        }),
        toRow('stock, orders, messages and keys: how far apart', wrong, { budget: { equals: 0 } }),
        toRow(`oversold, of a stock of ${scarce}`, oversold, { budget: { equals: 0 } }),
      ],
    }
  },
}

type Way = (typeof ways)[number]

const titles: Record<Way, string> = {
  lock: 'a Redis lock around the steps',
  'for update': 'SELECT … FOR UPDATE and the steps',
  statement: 'one statement for each order',
  batch: 'the orders that wait in one statement',
}

interface Sale {
  perSecond: number
  orders: number
  /** How far stock, orders, messages and keys are from what was confirmed to the buyers. */
  inexact: number
}

interface SaleOptions {
  stock: number
  ms: number
  isAlone: boolean
}

/** On a database of its own, with three pools as of three replicas. */
async function openShop({ stage }: Bench) {
  const { url, drop } = await createTestDatabase(stage.postgres.url, {
    template: await templateDatabase(stage.postgres.url),
  })
  const redis = new Redis((await stage.startRedis('hot-row')).url)
  const log = createLog({ service: 'bench', replicaId: 'bench', version: '', level: 'silent' })
  const connect = () =>
    createPostgres({ url, log, applicationName: 'bench', maxConnections: inFlight, timeoutMs: patienceMs })
  const pools = Array.from({ length: replicas }, connect)
  const [pool] = pools as [Postgres]
  const counters = pools.map((postgres) => createWays(postgres, { redis, log }))
  const { rows } = await pool.query<{ id: string }>('SELECT id FROM users LIMIT 1')
  const userId = rows[0]?.id ?? ''

  const sale = async (way: Way, { stock, ms, isAlone }: SaleOptions): Promise<Sale> => {
    await pool.query('TRUNCATE orders, outbox, idempotency_keys')
    const showId = randomUUID()
    await pool.query(addShow, [showId, stock])
    const startedAt = performance.now()
    let sold = 0
    const buy = async (sell: Sell) => {
      while (performance.now() - startedAt < ms && (await sell(...newOrder(userId, showId)))) sold++
    }
    const busy = isAlone ? counters.slice(0, 1) : counters
    await Promise.all(
      busy.flatMap((counter) => Array.from({ length: isAlone ? 1 : inFlight }, () => buy(counter[way]))),
    )
    const perSecond = sold / ((performance.now() - startedAt) / 1000)
    const found = (await pool.query<{ orders: number }>(account, [showId])).rows[0] ?? { orders: 0 }
    const inexact = Object.values(found).reduce((sum, count) => sum + Math.abs(count - sold), 0)
    return { perSecond, orders: found.orders, inexact }
  }
  const close = async () => {
    redis.disconnect()
    await Promise.all(pools.map((postgres) => postgres.stop()))
    await drop()
  }
  stage.keep({ stop: async () => redis.disconnect() })
  return { sale, close }
}

const addShow = `INSERT INTO shows (id, name, starts_at, price_cents, currency, capacity, available)
  VALUES ($1, 'Bench Night', now() + interval '30 days', 1000, 'EUR', $2, $2)`

const account = `SELECT capacity - available AS tickets,
    (SELECT count(*)::int FROM orders WHERE show_id = $1) AS orders,
    (SELECT count(*)::int FROM outbox JOIN orders ON aggregate = orders.id::text WHERE show_id = $1) AS messages,
    (SELECT count(*)::int FROM idempotency_keys WHERE owner = $1::text) AS keys
  FROM shows WHERE id = $1`
