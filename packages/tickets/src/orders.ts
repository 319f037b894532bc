import { kitErrors } from '@escala/kit/errors/errors.ts'
import type { Outbox } from '@escala/kit/outbox/outbox.ts'
import type { Postgres, Sql, Statement } from '@escala/kit/postgres/postgres.ts'
import { z } from 'zod'
import { decodeCursor, toPage } from './cursor.ts'
import { ticketErrors } from './errors.ts'
import { refundMessage } from './messages.ts'
import type { Order, OrderStatus, Page, PageQuery, PlacedOrder } from './schemas.ts'
import type { Availability } from './shows.ts'

interface OrderRow {
  id: string
  /** bigint: pg hands it over as text. */
  number: string
  show_id: string
  status: OrderStatus
  quantity: number
  total_cents: string
}

const columns = 'id, number, show_id, status, quantity, total_cents'

const selectAvailable: Statement = { name: 'tickets-available', text: 'SELECT available FROM shows WHERE id = $1' }

// Taking the tickets and writing the order are one statement: nobody waits for this row while a client thinks.
const placeOrder: Statement = {
  name: 'tickets-order-place',
  text: `WITH show AS (
      UPDATE shows SET available = available - $4::int, revision = revision + 1 WHERE id = $3 AND available >= $4::int
      RETURNING id, price_cents, currency, available, revision
    ), placed AS (
      INSERT INTO orders (id, user_id, show_id, quantity, total_cents, currency, hold_until, request_id)
      SELECT $1, $2, id, $4::int, price_cents::bigint * $4::int, currency, now() + $5::int * interval '1 millisecond', $6
      FROM show
      RETURNING ${columns}
    )
    SELECT placed.*, show.available, show.revision FROM placed, show`,
}

const selectOrder: Statement = {
  name: 'tickets-order',
  text: `SELECT ${columns} FROM orders WHERE id = $1 AND user_id = $2`,
}

const selectOrders: Statement = {
  name: 'tickets-orders',
  text: `SELECT ${columns} FROM orders WHERE user_id = $1 AND number < $3 ORDER BY number DESC LIMIT $2`,
}

// One winner: whoever changes the status first gives the tickets back, and nobody after.
const cancelOrder: Statement = {
  name: 'tickets-order-cancel',
  text: `WITH cancelled AS (
      UPDATE orders SET touched_at = now(), status = CASE status WHEN 'pending' THEN 'cancelled' ELSE 'refunding' END
      WHERE id = $1 AND user_id = $2 AND status IN ('pending', 'paid', 'confirmed')
      RETURNING ${columns}, request_id
    ), given_back AS (
      UPDATE shows SET available = available + cancelled.quantity, revision = revision + 1
      FROM cancelled WHERE shows.id = cancelled.show_id
      RETURNING available, revision
    )
    SELECT cancelled.*, given_back.available, given_back.revision FROM cancelled, given_back`,
}

const afterEveryNumber = '9223372036854775807'

export interface NewOrder {
  id: string
  userId: string
  showId: string
  quantity: number
  holdMs: number
  requestId: string
}

export interface Placed {
  placed: PlacedOrder
  /** Of the show, after this order. */
  availability: Availability
}

/** Throws `E_NOT_FOUND` or `E_SOLD_OUT`. `announce` runs before the show's row is locked, so that the lock is short. */
export async function place(tx: Sql, order: NewOrder, announce: () => Promise<unknown>): Promise<Placed> {
  const { rows: shows } = await tx.query<{ available: number }>(selectAvailable, [order.showId])
  if (shows[0] === undefined) throw kitErrors.E_NOT_FOUND({ detail: 'there is no such show' })
  // A look, not the decision: after the last ticket, buyers need not queue for the row.
  if (shows[0].available < order.quantity) throw ticketErrors.E_SOLD_OUT()
  await announce()
  const { id, userId, showId, quantity, holdMs, requestId } = order
  const { rows } = await tx.query<OrderRow & Availability>(placeOrder, [
    id,
    userId,
    showId,
    quantity,
    holdMs,
    requestId,
  ])
  if (rows[0] === undefined) throw ticketErrors.E_SOLD_OUT()
  const { showId: _, ...placed } = toOrder(rows[0])
  return { placed, availability: rows[0] }
}

/** Somebody else's order is not found. */
export async function readOrder(sql: Sql, id: string, userId: string): Promise<Order | undefined> {
  const { rows } = await sql.query<OrderRow>(selectOrder, [id, userId])
  return rows[0] && toOrder(rows[0])
}

/** The newest first. */
export async function listOrders(sql: Sql, userId: string, { cursor, limit }: PageQuery): Promise<Page<Order>> {
  const [before] = cursor === undefined ? [afterEveryNumber] : decodeCursor(cursor, z.tuple([z.int().min(0)]))
  const { rows } = await sql.query<OrderRow>(selectOrders, [userId, limit + 1, before])
  return toPage(rows, limit, toOrder, (row) => [Number(row.number)])
}

/**
 * Gives the tickets back at once; money that was paid comes back later, through the worker.
 * An order that is over stays as it is. Throws `E_NOT_FOUND`, or `E_ORDER_BUSY` while the charge's outcome is unknown.
 */
export async function cancel(
  postgres: Postgres,
  outbox: Outbox,
  id: string,
  userId: string,
): Promise<{ order: Order; availability?: Availability }> {
  for (let tries = 0; tries < 3; tries++) {
    const cancelled = await postgres.transaction(async (tx) => {
      const { rows } = await tx.query<OrderRow & Availability & { request_id: string }>(cancelOrder, [id, userId])
      if (rows[0]?.status === 'refunding') await outbox.add(tx, refundMessage(id, rows[0].request_id))
      return rows[0]
    })
    if (cancelled) return { order: toOrder(cancelled), availability: cancelled }
    const order = await readOrder(postgres, id, userId)
    if (order === undefined) throw kitErrors.E_NOT_FOUND()
    if (order.status === 'charging') break
    const changedBetween = ['pending', 'paid', 'confirmed'].includes(order.status)
    if (!changedBetween) return { order }
  }
  throw ticketErrors.E_ORDER_BUSY({ retryAfterMs: 2000 })
}

function toOrder(row: OrderRow): Order {
  return {
    id: row.id,
    number: Number(row.number),
    status: row.status,
    quantity: row.quantity,
    totalCents: Number(row.total_cents),
    showId: row.show_id,
  }
}
