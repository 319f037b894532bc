import type { Postgres, Sql, Statement } from '@escala/kit/postgres/postgres.ts'
import { z } from 'zod'
import { dayKey, decodeCursor, toPage } from './cursor.ts'
import type { Page, PageQuery, SalesReport } from './schemas.ts'

interface ReportRow {
  day: string
  show_id: string
  show_name: string
  currency: string
  orders: number
  tickets: number
  total_cents: string
  computed_at: Date
}

// The last seven whole days, not only yesterday: a night without a worker heals in the next, and cancellations show.
const computeReports: Statement = {
  name: 'tickets-reports-compute',
  text: `INSERT INTO sales_reports (day, show_id, show_name, currency, orders, tickets, total_cents)
    SELECT (orders.paid_at AT TIME ZONE 'UTC')::date, shows.id, shows.name, orders.currency,
      count(*) FILTER (WHERE kept), coalesce(sum(quantity) FILTER (WHERE kept), 0),
      coalesce(sum(total_cents) FILTER (WHERE kept), 0)
    FROM (SELECT *, status IN ('paid', 'confirmed') AS kept FROM orders) AS orders JOIN shows ON shows.id = orders.show_id
    WHERE orders.paid_at >= (date_trunc('day', now() AT TIME ZONE 'UTC') - interval '7 days') AT TIME ZONE 'UTC'
      AND orders.paid_at < date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
    GROUP BY 1, 2, 3, 4
    ON CONFLICT (day, show_id, currency) DO UPDATE SET show_name = excluded.show_name, orders = excluded.orders,
      tickets = excluded.tickets, total_cents = excluded.total_cents, computed_at = now()`,
}

const columns = 'day::text, show_id, show_name, currency, orders, tickets, total_cents, computed_at'

const selectReports: Statement = {
  name: 'tickets-reports',
  text: `SELECT ${columns} FROM sales_reports ORDER BY sales_reports.day DESC, show_id DESC, currency DESC LIMIT $1`,
}

const selectReportsAfter: Statement = {
  name: 'tickets-reports-after',
  text: `SELECT ${columns} FROM sales_reports WHERE (sales_reports.day, show_id, currency) < ($2, $3, $4)
    ORDER BY sales_reports.day DESC, show_id DESC, currency DESC LIMIT $1`,
}

/** What was paid on each of the last seven days, by the database's clock in UTC. Made again, it is the same. */
export async function computeSales(postgres: Pick<Postgres, 'transaction'>): Promise<number> {
  // It reads all orders of a week: longer than a request may take.
  const { rowCount } = await postgres.transaction((tx) => tx.query(computeReports), { statementMs: 60_000 })
  return rowCount
}

/** The newest day first. */
export async function listReports(sql: Sql, { cursor, limit }: PageQuery): Promise<Page<SalesReport>> {
  const key = z.tuple([dayKey, z.uuid(), z.string().regex(/^[A-Z]{3}$/)])
  const after = cursor === undefined ? undefined : decodeCursor(cursor, key)
  const statement = after ? selectReportsAfter : selectReports
  const { rows } = await sql.query<ReportRow>(statement, [limit + 1, ...(after ?? [])])
  return toPage(rows, limit, toReport, (row) => [row.day, row.show_id, row.currency])
}

function toReport(row: ReportRow): SalesReport {
  return {
    day: row.day,
    showId: row.show_id,
    showName: row.show_name,
    currency: row.currency,
    orders: row.orders,
    tickets: row.tickets,
    totalCents: Number(row.total_cents),
    computedAt: row.computed_at.toISOString(),
  }
}
