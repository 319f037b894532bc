import { dayKey, decodeCursor, type Page, type PageQuery, toPage } from '@escala/kit/http/cursor'
import type { Sql, Statement } from '@escala/kit/postgres/postgres'
import { z } from 'zod'
import type { SalesReport } from './schemas.ts'

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
