import type { Postgres, Sql, Statement } from '@escala/kit/postgres/postgres'

export interface SalesOptions {
  postgres: Postgres
  /** The same for each try of one run: days that an earlier try has finished are left out. */
  run: string
  signal: AbortSignal
  /** Orders that one statement reads. */
  pageOrders?: number
}

interface Sold {
  show_id: string
  currency: string
  orders: number
  tickets: number
  /** bigint, as text. */
  total_cents: string
}

interface PageRow extends Sold {
  read_at: string
  last_paid_at: string
  last_id: string
  page_orders: number
}

// The last seven whole days, not only yesterday: a night without a worker heals in the next, and cancellations show.
const selectDays: Statement = {
  name: 'tickets-report-days',
  text: `SELECT (today - n)::text AS day
    FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS today) AS clock, generate_series(1, 7) AS n
    WHERE NOT EXISTS (SELECT FROM sales_report_days AS done WHERE done.day = today - n AND run = $1) ORDER BY n`,
}

// When an order was paid never changes, so each is in exactly one page, whatever happens to it meanwhile.
const readPage: Statement = {
  name: 'tickets-report-page',
  text: `WITH page AS (
      SELECT paid_at, id, show_id, currency, quantity, total_cents, status IN ('paid', 'confirmed') AS kept FROM orders
      WHERE (paid_at, id) > (coalesce($2::timestamptz, $1::date::timestamp AT TIME ZONE 'UTC'), $3::uuid)
        AND paid_at < ($1::date + 1)::timestamp AT TIME ZONE 'UTC'
      ORDER BY paid_at, id LIMIT $4
    ), last AS (
      SELECT paid_at::text AS last_paid_at, id AS last_id, (SELECT count(*)::int FROM page) AS page_orders
      FROM page ORDER BY paid_at DESC, id DESC LIMIT 1
    ), sold AS (
      SELECT show_id, currency, count(*) FILTER (WHERE kept)::int AS orders,
        coalesce(sum(quantity) FILTER (WHERE kept), 0)::int AS tickets,
        coalesce(sum(total_cents) FILTER (WHERE kept), 0)::text AS total_cents
      FROM page GROUP BY show_id, currency
    )
    SELECT sold.*, last.*, now()::text AS read_at FROM sold, last`,
}

// Of two runs at once the one that began to read later wins, whichever is the last to write.
const writeReports: Statement = {
  name: 'tickets-report-write',
  text: `INSERT INTO sales_reports (day, show_id, show_name, currency, orders, tickets, total_cents, computed_at)
    SELECT $1::date, show_id, (SELECT name FROM shows WHERE id = show_id), sold.currency, orders, tickets, total_cents, $7::timestamptz
    FROM unnest($2::uuid[], $3::text[], $4::int[], $5::int[], $6::bigint[]) AS sold (show_id, currency, orders, tickets, total_cents)
    ON CONFLICT (day, show_id, currency) DO UPDATE SET show_name = excluded.show_name, orders = excluded.orders,
      tickets = excluded.tickets, total_cents = excluded.total_cents, computed_at = excluded.computed_at
    WHERE sales_reports.computed_at <= excluded.computed_at`,
}

const finishDay: Statement = {
  name: 'tickets-report-done',
  text: `INSERT INTO sales_report_days (day, run) VALUES ($1, $2) ON CONFLICT (day) DO UPDATE SET run = excluded.run`,
}

const nobody = '00000000-0000-0000-0000-000000000000'
// Reports that one statement writes.
const maxReports = 100

/**
 * Computes what was paid on each of the last seven days, by the database's clock in UTC. Made again, it is the same. However
 * many orders there were, each statement reads or writes only so many rows; a day's reports appear together.
 * Returns how many reports it computed.
 */
export async function computeSales(options: SalesOptions): Promise<number> {
  const { postgres, run, signal } = options
  const { rows } = await postgres.query<{ day: string }>(selectDays, [run])
  let reports = 0
  for (const { day } of rows) {
    const { sold, readAt } = await readDay(day, options)
    signal.throwIfAborted()
    await postgres.transaction(async (tx) => {
      for (let from = 0; from < sold.length; from += maxReports) {
        await write(tx, day, readAt, sold.slice(from, from + maxReports))
      }
      await tx.query(finishDay, [day, run])
    })
    reports += sold.length
  }
  return reports
}

async function readDay(day: string, { postgres, signal, pageOrders = 1000 }: SalesOptions) {
  const sums = new Map<string, Omit<Sold, 'total_cents'> & { cents: bigint }>()
  let readAt: string | null = null
  let last: { paidAt: string | null; id: string } = { paidAt: null, id: nobody }
  for (let isEnd = false; !isEnd; ) {
    signal.throwIfAborted()
    const { rows } = await postgres.query<PageRow>(readPage, [day, last.paidAt, last.id, pageOrders])
    for (const { show_id, currency, orders, tickets, total_cents } of rows) {
      const key = `${show_id} ${currency}`
      const sum = sums.get(key) ?? { show_id, currency, orders: 0, tickets: 0, cents: 0n }
      sums.set(key, sum)
      sum.orders += orders
      sum.tickets += tickets
      sum.cents += BigInt(total_cents)
    }
    const row = rows[0]
    readAt ??= row?.read_at ?? null
    if (row) last = { paidAt: row.last_paid_at, id: row.last_id }
    isEnd = row === undefined || row.page_orders < pageOrders
  }
  // In one order, so that two runs at once cannot wait for each other.
  const sold = [...sums].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, sum]) => sum)
  return { readAt, sold: sold.map(({ cents, ...sum }): Sold => ({ ...sum, total_cents: String(cents) })) }
}

async function write(tx: Sql, day: string, readAt: string | null, sold: Sold[]): Promise<void> {
  const column = <Name extends keyof Sold>(name: Name) => sold.map((row) => row[name])
  await tx.query(writeReports, [
    day,
    ...[column('show_id'), column('currency'), column('orders'), column('tickets'), column('total_cents')],
    readAt,
  ])
}
