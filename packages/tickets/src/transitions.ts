import type { Outbox } from '@escala/kit/outbox/outbox.ts'
import type { Postgres, Sql, Statement } from '@escala/kit/postgres/postgres.ts'
import { chargeMessage, mailMessage, refundMessage } from './messages.ts'
import type { OrderStatus } from './schemas.ts'
import type { ShowAvailability } from './shows.ts'

/** What a job needs to know of its order. */
export interface OrderAtWork {
  id: string
  number: number
  quantity: number
  totalCents: number
  currency: string
  requestId: string
}

interface AtWorkRow {
  id: string
  number: string
  quantity: number
  total_cents: string
  currency: string
  request_id: string
}

const atWork = 'id, number, quantity, total_cents, currency, request_id'

// Every transition names the states that it may leave: of two at once, one finds its order changed and does nothing.

const beginCharging: Statement = {
  name: 'tickets-order-charging',
  text: `UPDATE orders SET status = 'charging', touched_at = now()
    WHERE id = $1 AND status IN ('pending', 'charging')`,
}

const take: Statement = {
  name: 'tickets-order-take',
  text: `UPDATE orders SET touched_at = now() WHERE id = $1 AND status = ANY ($2) RETURNING ${atWork}`,
}

const pay: Statement = {
  name: 'tickets-order-paid',
  text: `UPDATE orders SET status = 'paid', charge_id = $2, paid_at = now(), touched_at = now()
    WHERE id = $1 AND status = 'charging' RETURNING request_id`,
}

const decline: Statement = {
  name: 'tickets-order-failed',
  text: `WITH failed AS (
      UPDATE orders SET status = 'failed', touched_at = now() WHERE id = $1 AND status = 'charging'
      RETURNING show_id, quantity
    )
    UPDATE shows SET available = available + failed.quantity, revision = revision + 1
    FROM failed WHERE shows.id = failed.show_id
    RETURNING shows.id AS "showId", available, revision`,
}

const settle: Statement = {
  name: 'tickets-order-settle',
  text: 'UPDATE orders SET status = $3, touched_at = now() WHERE id = $1 AND status = $2',
}

// Rows of shows are locked in one order, so that two sweeps cannot wait for each other.
const expireHolds: Statement = {
  name: 'tickets-orders-expire',
  text: `WITH due AS (
      SELECT id FROM orders WHERE status = 'pending' AND hold_until < now() LIMIT $1 FOR UPDATE SKIP LOCKED
    ), expired AS (
      UPDATE orders SET status = 'expired', touched_at = now() FROM due
      WHERE orders.id = due.id AND orders.status = 'pending'
      RETURNING show_id, quantity
    ), held AS (
      SELECT show_id, sum(quantity)::int AS quantity FROM expired GROUP BY show_id
    ), locked AS (
      SELECT shows.id, held.quantity FROM shows JOIN held ON held.show_id = shows.id ORDER BY shows.id FOR UPDATE OF shows
    ), given_back AS (
      UPDATE shows SET available = available + locked.quantity, revision = revision + 1
      FROM locked WHERE shows.id = locked.id
      RETURNING shows.id, available, revision
    )
    SELECT id AS "showId", available, revision, (SELECT count(*)::int FROM expired) AS expired FROM given_back`,
}

const touchStuck: Statement = {
  name: 'tickets-orders-stuck',
  text: `WITH stuck AS (
      SELECT id FROM orders
      WHERE status IN ('pending', 'charging', 'paid', 'refunding') AND touched_at < now() - $2::int * interval '1 millisecond'
      ORDER BY touched_at LIMIT $1 FOR UPDATE SKIP LOCKED
    )
    UPDATE orders SET touched_at = now() FROM stuck WHERE orders.id = stuck.id
    RETURNING orders.id, orders.status, orders.request_id`,
}

const messages: Partial<Record<OrderStatus, typeof chargeMessage>> = {
  pending: chargeMessage,
  charging: chargeMessage,
  paid: mailMessage,
  refunding: refundMessage,
}

/** Says that somebody works on the order; `undefined` when it is in another state. */
export async function takeOrder(sql: Sql, id: string, ...states: OrderStatus[]): Promise<OrderAtWork | undefined> {
  const { rows } = await sql.query<AtWorkRow>(take, [id, states])
  const row = rows[0]
  if (row === undefined) return undefined
  return {
    id: row.id,
    number: Number(row.number),
    quantity: row.quantity,
    totalCents: Number(row.total_cents),
    currency: row.currency,
    requestId: row.request_id,
  }
}

/** From now on the money may move, and only the provider's answer ends it. `false`: it must not; the order was cancelled, say. */
export async function beginCharge(sql: Sql, id: string): Promise<boolean> {
  return (await sql.query(beginCharging, [id])).rowCount === 1
}

/** `charging` → `paid`, and the mail is on its way: both, or neither. */
export async function markPaid(
  postgres: Postgres,
  outbox: Pick<Outbox, 'add'>,
  id: string,
  chargeId: string,
  traceparent: string | undefined,
): Promise<void> {
  await postgres.transaction(async (tx) => {
    const { rows } = await tx.query<{ request_id: string }>(pay, [id, chargeId])
    if (rows[0]) await outbox.add(tx, mailMessage(id, rows[0].request_id, traceparent))
  })
}

/** `charging` → `failed`; the tickets come back: answers with what is available then. */
export async function markFailed(sql: Sql, id: string): Promise<ShowAvailability[]> {
  const { rows } = await sql.query<ShowAvailability>(decline, [id])
  return rows
}

/** One step whose tickets stay where they are: `paid` → `confirmed`, `refunding` → `cancelled`. */
export async function settleOrder(sql: Sql, id: string, from: OrderStatus, to: OrderStatus): Promise<void> {
  await sql.query(settle, [id, from, to])
}

/** Ends holds that ran out, the tickets come back; answers how many holds, and where. Never an order that is being charged. */
export async function expireSome(sql: Sql, max: number): Promise<{ expired: number; shows: ShowAvailability[] }> {
  const { rows } = await sql.query<ShowAvailability & { expired: number }>(expireHolds, [max])
  return { expired: rows[0]?.expired ?? 0, shows: rows }
}

/** Emits anew the work of orders that nobody touched for `stuckMs`; answers how many. The handlers bear the repetition. */
export function reemitSome(
  postgres: Postgres,
  outbox: Pick<Outbox, 'add'>,
  stuckMs: number,
  max: number,
): Promise<number> {
  return postgres.transaction(async (tx) => {
    const values = [max, stuckMs]
    const { rows } = await tx.query<{ id: string; status: OrderStatus; request_id: string }>(touchStuck, values)
    for (const { id, status, request_id } of rows) {
      const message = messages[status]?.(id, request_id)
      if (message) await outbox.add(tx, message)
    }
    return rows.length
  })
}
