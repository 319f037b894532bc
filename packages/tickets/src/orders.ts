import type { AppError } from '@escala/kit/errors/app-error'
import { kitErrors } from '@escala/kit/errors/errors'
import { decodeCursor, type Page, type PageQuery, toPage } from '@escala/kit/http/cursor'
import type { EffectStatement } from '@escala/kit/idempotency/idempotency'
import type { Outbox } from '@escala/kit/outbox/outbox'
import type { Sql, Statement } from '@escala/kit/postgres/postgres'
import { z } from 'zod'
import { ticketErrors } from './errors.ts'
import { payloadSql } from './messages.ts'
import type { Order, OrderStatus } from './schemas.ts'
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

const selectShow: Statement = { name: 'tickets-show-exists', shared: true, text: 'SELECT FROM shows WHERE id = $1' }

const countOwned: Statement = { name: 'tickets-of-buyer', text: 'SELECT tickets_of_buyer($1, $2) AS owned' }

const selectOrder: Statement = {
  name: 'tickets-order',
  shared: true,
  text: `SELECT ${columns} FROM orders WHERE id = $1 AND user_id = $2`,
}

const selectOrders: Statement = {
  name: 'tickets-orders',
  shared: true,
  text: `SELECT ${columns} FROM orders WHERE user_id = $1 AND number < $3 ORDER BY number DESC LIMIT $2`,
}

// One winner: only the first to change the status returns the tickets. One statement: the show's row,
// which every order needs, is not locked during a round trip.
const cancelOrder = (outbox: Pick<Outbox, 'insert'>): Statement => ({
  name: 'tickets-order-cancel',
  text: `WITH cancelled AS (
      UPDATE orders SET touched_at = now(), status = CASE status WHEN 'pending' THEN 'cancelled' ELSE 'refunding' END
      WHERE id = $1 AND user_id = $2 AND status IN ('pending', 'paid', 'confirmed')
      RETURNING ${columns}, request_id
    ), given_back AS (
      UPDATE shows SET available = available + cancelled.quantity, revision = revision + 1
      FROM cancelled WHERE shows.id = cancelled.show_id
      RETURNING available, revision
    ), messages AS (
      ${outbox.insert(`SELECT 'order.refund', id::text, ${payloadSql('id')}, request_id, $3::text
        FROM cancelled WHERE status = 'refunding'`)}
    )
    SELECT cancelled.*, given_back.available, given_back.revision FROM cancelled, given_back`,
})

const afterEveryNumber = '9223372036854775807'

export interface NewOrder {
  id: string
  userId: string
  showId: string
  quantity: number
  holdMs: number
  requestId: string
  traceparent: string | undefined
  /** Whether tickets are being sold at all. */
  isOpen: boolean
  /** Tickets that one buyer may have for a show; 0: any number. */
  maxPerBuyer: number
}

/**
 * Takes the tickets, writes the order and its outbox message, in one statement with the key: the show's row, which every order
 * needs, is not locked during a round trip, and a replica that hangs in the middle holds up no other order.
 */
export function placeOrder(order: NewOrder, outbox: Outbox): EffectStatement {
  const { id, userId, showId, quantity, holdMs, requestId, isOpen, traceparent, maxPerBuyer } = order
  // The lock of the buyer comes before that of the show: waiting for the buyer's other orders holds up nobody else.
  const [counted, isAllowed] = maxPerBuyer
    ? [
        'owned AS MATERIALIZED (SELECT tickets_of_buyer($2, $3) AS quantity FROM unclaimed), ',
        'AND (SELECT quantity FROM owned) + $4::int <= $9::int',
      ]
    : ['', '']
  return {
    name: maxPerBuyer ? 'tickets-order-place-limited' : 'tickets-order-place',
    changes: `${counted}show AS (
        UPDATE shows SET available = available - $4::int, revision = revision + 1
        WHERE id = $3 AND available >= $4::int AND $7::boolean AND EXISTS (SELECT FROM unclaimed) ${isAllowed}
        RETURNING id, price_cents, currency, available, revision
      ), placed AS (
        INSERT INTO orders (id, user_id, show_id, quantity, total_cents, currency, hold_until, request_id)
        SELECT $1, $2, id, $4::int, price_cents::bigint * $4::int, currency,
          now() + $5::int * interval '1 millisecond', $6::text
        FROM show
        RETURNING id, number, status, quantity, total_cents
      ), messages AS (
        ${outbox.insert(`SELECT 'order.charge', id::text, ${payloadSql('id')}, $6::text, $8::text FROM placed`)}
      )`,
    response: `SELECT 201 AS status, json_build_object('id', placed.id, 'number', number, 'status', placed.status,
        'quantity', quantity, 'totalCents', total_cents) AS body, show.available, show.revision
      FROM placed, show`,
    values: [
      ...[id, userId, showId, quantity, holdMs, requestId, isOpen, traceparent ?? null],
      ...(maxPerBuyer ? [maxPerBuyer] : []),
    ],
  }
}

/** Why nothing was placed. */
export async function whyRefused(sql: Sql, order: NewOrder): Promise<AppError> {
  const { userId, showId, quantity, isOpen, maxPerBuyer } = order
  if (!isOpen) return ticketErrors.E_SALES_CLOSED()
  if (maxPerBuyer) {
    const { rows } = await sql.query<{ owned: number }>(countOwned, [userId, showId])
    const left = Math.max(0, maxPerBuyer - (rows[0]?.owned ?? 0))
    if (quantity > left) return ticketErrors.E_TICKET_LIMIT({ detail: `this buyer may order ${left} more` })
  }
  const { rowCount } = await sql.query(selectShow, [showId])
  return rowCount === 0 ? kitErrors.E_NOT_FOUND({ detail: 'there is no such show' }) : ticketErrors.E_SOLD_OUT()
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
  sql: Sql,
  outbox: Outbox,
  id: string,
  userId: string,
  traceparent: string | undefined,
): Promise<{ order: Order; availability?: Availability }> {
  for (let tries = 0; tries < 3; tries++) {
    const { rows } = await sql.query<OrderRow & Availability>(cancelOrder(outbox), [id, userId, traceparent ?? null])
    const [cancelled] = rows
    if (cancelled) return { order: toOrder(cancelled), availability: cancelled }
    const order = await readOrder(sql, id, userId)
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
