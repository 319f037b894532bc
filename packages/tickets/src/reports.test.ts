import { randomUUID } from 'node:crypto'
import type { Postgres, Statement } from '@escala/kit/postgres/postgres'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { computeSales } from './sales.ts'
import { createShop, type Shop } from './test-shop.ts'

let shop: Shop
beforeAll(async () => {
  shop = await createShop(inject('postgresUrl'))
})
afterAll(() => shop?.stop())

test('the report counts what was paid on a day, once however often it is made, less what was cancelled', async () => {
  const ana = await shop.addUser()
  const organiser = await shop.addUser('organiser')
  const show = await shop.addShow(10, 1500)
  const ids: string[] = []
  for (const quantity of [1, 2, 3]) ids.push((await shop.order(ana, show.id, { quantity })).body.id)
  await shop.work()
  for (const id of ids.slice(0, 2)) await shop.age(id, 'paid_at') // the third was paid today, which is not over
  const read = async () => (await shop.send('GET', '/v1/reports/sales', { userId: organiser })).body

  await shop.run('reports.sales')
  await shop.run('reports.sales')
  const { items, nextCursor } = await read()
  expect(nextCursor).toBeNull()
  expect(items).toMatchObject([{ showId: show.id, showName: 'Gig', orders: 2, tickets: 3, totalCents: 4500 }])

  await shop.send('DELETE', `/v1/orders/${ids[0]}`, { userId: ana })
  await shop.run('reports.sales')
  expect((await read()).items).toMatchObject([{ orders: 1, tickets: 2, totalCents: 3000 }])
  await shop.send('DELETE', `/v1/orders/${ids[1]}`, { userId: ana })
  await shop.run('reports.sales')
  expect((await read()).items).toMatchObject([{ orders: 0, tickets: 0, totalCents: 0 }])

  expect(await shop.send('GET', '/v1/reports/sales', { userId: ana })).toMatchObject({ status: 403 })
  expect(await shop.send('GET', '/v1/reports/sales?limit=1&cursor=x', { userId: organiser })).toMatchObject({
    status: 400,
  })
})

const everyReport = async () =>
  (
    await shop.postgres.query<{ day: string; show_id: string; orders: number; tickets: number; total_cents: string }>(
      'SELECT day::text, show_id, orders, tickets, total_cents FROM sales_reports ORDER BY day, show_id',
    )
  ).rows
const whatOrdersSay = async () =>
  (
    await shop.postgres.query(`SELECT (paid_at AT TIME ZONE 'UTC')::date::text AS day, show_id,
      count(*) FILTER (WHERE status IN ('paid', 'confirmed'))::int AS orders,
      coalesce(sum(quantity) FILTER (WHERE status IN ('paid', 'confirmed')), 0)::int AS tickets,
      coalesce(sum(total_cents) FILTER (WHERE status IN ('paid', 'confirmed')), 0)::text AS total_cents
    FROM orders WHERE paid_at >= (now() AT TIME ZONE 'UTC')::date::timestamp AT TIME ZONE 'UTC' - interval '7 days'
      AND paid_at < (now() AT TIME ZONE 'UTC')::date::timestamp AT TIME ZONE 'UTC' GROUP BY 1, 2 ORDER BY 1, 2`)
  ).rows

/** Adds paid orders of three shows over the last days; many of them were paid in the same moment. */
async function sellMuch(count: number): Promise<void> {
  const user = await shop.addUser()
  const shows = await Promise.all([1, 2, 3].map(() => shop.addShow(1000)))
  await shop.postgres.query(
    `INSERT INTO orders (id, user_id, show_id, quantity, total_cents, currency, hold_until, request_id, status, paid_at)
     SELECT gen_random_uuid(), $1, ($2::uuid[])[1 + n % 3], 1 + n % 4, 100 * n, 'EUR', now(), 'r',
       CASE WHEN n % 5 = 0 THEN 'cancelled' ELSE 'confirmed' END, date_trunc('hour', now()) - (n % 9) * interval '23 hours'
     FROM generate_series(1, $3::int) AS n`,
    [user, shows.map(({ id }) => id), count],
  )
}

test('the report is computed in pieces, and is the same as in one', async () => {
  await sellMuch(700)
  const { signal } = new AbortController()
  const most = Math.max(...(await Promise.all([7, 64, 1000].map((pageOrders) => rowsPerStatement(pageOrders)))))
  expect(most).toBeLessThanOrEqual(1000)
  expect(await rowsPerStatement(7)).toBeLessThanOrEqual(7)
  expect(await everyReport()).toEqual(await whatOrdersSay())

  /** Computes the report; the most orders that one statement has read. */
  async function rowsPerStatement(pageOrders: number): Promise<number> {
    let most = 0
    const postgres: Postgres = {
      ...shop.postgres,
      async query<Row>(statement: string | Statement, values?: unknown[]) {
        const result = await shop.postgres.query<Row>(statement, values)
        most = Math.max(most, (result.rows as { page_orders?: number }[])[0]?.page_orders ?? 0)
        return result
      },
    }
    await computeSales({ postgres, run: randomUUID(), signal, pageOrders })
    return most
  }
})

test('orders that are paid, cancelled and confirmed meanwhile are each counted once, as they are in the end', async () => {
  const { signal } = new AbortController()
  let pages = 0
  const postgres: Postgres = {
    ...shop.postgres,
    async query<Row>(statement: string | Statement, values?: unknown[]) {
      const result = await shop.postgres.query<Row>(statement, values)
      // Rows move while they are read: every order is written again, and some are cancelled.
      if (++pages % 3 === 0)
        await shop.postgres.query(`UPDATE orders SET touched_at = now(), status = CASE WHEN
        number % 7 = ${pages % 7} THEN 'cancelled' ELSE status END WHERE status IN ('confirmed', 'cancelled')`)
      return result
    },
  }
  await computeSales({ postgres, run: 'moving', signal, pageOrders: 20 })
  const counted = async (sql: string) => (await shop.postgres.query<{ n: number }>(sql)).rows[0]?.n ?? Number.NaN
  const [reported, kept] = await Promise.all([
    counted('SELECT sum(orders)::int AS n FROM sales_reports'),
    counted(`SELECT count(*)::int AS n FROM orders WHERE status = 'confirmed' AND
      paid_at >= (now() AT TIME ZONE 'UTC')::date::timestamp AT TIME ZONE 'UTC' - interval '7 days' AND
      paid_at < (now() AT TIME ZONE 'UTC')::date::timestamp AT TIME ZONE 'UTC'`),
  ])
  expect(reported).toBeGreaterThanOrEqual(kept) // none is missing; what was cancelled after it was read shows the next night
  await computeSales({ postgres: shop.postgres, run: 'still', signal, pageOrders: 20 })
  expect(await everyReport()).toEqual(await whatOrdersSay())
})

test('a run that failed goes on where it stopped, and a day appears at once or not at all', async () => {
  const { signal } = new AbortController()
  const before = await everyReport()
  await shop.postgres.query(`UPDATE orders SET status = 'confirmed' WHERE status = 'cancelled'`)
  const read: string[] = []
  let failAt = 3
  const postgres: Postgres = {
    ...shop.postgres,
    transaction: (work, options) =>
      shop.postgres.transaction(async (tx) => {
        const result = await work(tx)
        if (failAt-- === 0) throw new Error('the database is gone')
        return result
      }, options),
    query<Row>(statement: string | Statement, values?: unknown[]) {
      const { name } = statement as Statement
      if (name === 'tickets-report-page') read.push(values?.[0] as string)
      return shop.postgres.query<Row>(statement, values)
    },
  }
  const run = () => computeSales({ postgres, run: 'failing', signal })
  await expect(run()).rejects.toThrow('the database is gone')
  const days = [...new Set(read)]
  expect(days).toHaveLength(4)
  const asOrders = await whatOrdersSay()
  const of = (reports: { day: string }[], day: string | undefined) => reports.filter((report) => report.day === day)
  const halfway = await everyReport()
  for (const day of days.slice(0, 3)) expect(of(halfway, day)).toEqual(of(asOrders as { day: string }[], day))
  expect(of(halfway, days[3])).toEqual(of(before, days[3]))
  read.length = 0
  await run()
  expect(new Set(read)).toEqual(new Set([days[3], ...read.slice(1)]))
  expect(new Set(read).size).toBe(4) // of seven days
  expect(await everyReport()).toEqual(asOrders)
})

test('of two runs at once the one that began later counts, whichever ends last', async () => {
  const { signal } = new AbortController()
  const isRead = Promise.withResolvers<void>()
  const mayWrite = Promise.withResolvers<void>()
  const slow: Postgres = {
    ...shop.postgres,
    async transaction(work, options) {
      isRead.resolve()
      await mayWrite.promise
      return shop.postgres.transaction(work, options)
    },
  }
  const first = computeSales({ postgres: slow, run: 'first', signal })
  await isRead.promise
  await shop.postgres.query(`UPDATE orders SET status = 'cancelled' WHERE number % 2 = 0 AND status = 'confirmed'`)
  await computeSales({ postgres: shop.postgres, run: 'second', signal })
  mayWrite.resolve()
  await first
  expect(await everyReport()).toEqual(await whatOrdersSay())
})
