import type { BatchEffect } from '@escala/kit/idempotency/idempotency'
import type { Outbox } from '@escala/kit/outbox/outbox'
import { payloadSql } from './messages.ts'
import type { NewOrder } from './orders.ts'

/**
 * Places orders of one show, in the order given, as far as the tickets go: one lock of the show's row, and one revision, for
 * all of them. An order behind one that does not fit is refused as well, though it might fit by itself: see `left`, the tickets
 * that are left after the batch.
 */
export function placeOrders(orders: NewOrder[], outbox: Outbox): BatchEffect {
  const column = <Key extends keyof NewOrder>(key: Key) => orders.map((order) => order[key] ?? null)
  const [first] = orders
  return {
    name: 'tickets-orders-place',
    changes: `wanted AS (
        SELECT asked.*, sum(quantity) OVER (ORDER BY seq) AS up_to
        FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::text[], $5::text[])
          WITH ORDINALITY AS asked (id, user_id, quantity, request_id, traceparent, seq)
        JOIN unclaimed USING (seq)
      ), stock AS MATERIALIZED (
        SELECT price_cents, currency, available FROM shows
        WHERE shows.id = $6 AND EXISTS (SELECT FROM wanted) FOR NO KEY UPDATE
      ), fitting AS MATERIALIZED (
        SELECT wanted.*, price_cents, currency FROM wanted, stock WHERE up_to <= stock.available
      ), taken AS (SELECT sum(quantity)::int AS tickets FROM fitting HAVING count(*) > 0),
      show AS (
        UPDATE shows SET available = shows.available - taken.tickets, revision = shows.revision + 1
        FROM taken WHERE shows.id = $6
        RETURNING shows.available, shows.revision
      ), placed AS (
        INSERT INTO orders (id, user_id, show_id, quantity, total_cents, currency, hold_until, request_id)
        SELECT id, user_id, $6, quantity, price_cents::bigint * quantity, currency,
          now() + $7::int * interval '1 millisecond', request_id
        FROM fitting ORDER BY seq
        RETURNING id, number, status, quantity, total_cents
      ), messages AS (
        ${outbox.insert(`SELECT 'order.charge', id::text, ${payloadSql('id')}, request_id, traceparent FROM fitting ORDER BY seq`)}
      )`,
    response: `SELECT fitting.seq, 201 AS status, json_build_object('id', placed.id, 'number', number, 'status', placed.status,
        'quantity', placed.quantity, 'totalCents', total_cents) AS body, show.available, show.revision
      FROM placed JOIN fitting USING (id), show`,
    values: [
      ...[column('id'), column('userId'), column('quantity'), column('requestId'), column('traceparent')],
      ...[first?.showId, first?.holdMs],
    ],
  }
}
