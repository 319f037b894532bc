import type { DeadAggregates } from '@escala/kit/jobs/jobs.ts'
import type { Outbox } from '@escala/kit/outbox/outbox.ts'
import type { Postgres, Sql, Statement } from '@escala/kit/postgres/postgres.ts'
import { mailMessage, payloadSql } from './messages.ts'
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
  status: OrderStatus
  /** The provider's name for its payment, once that is known. */
  chargeId: string | undefined
}

interface AtWorkRow {
  id: string
  number: string
  quantity: number
  total_cents: string
  currency: string
  request_id: string
  status: OrderStatus
  charge_id: string | null
}

const atWork = 'id, number, quantity, total_cents, currency, request_id, status, charge_id'

// Every transition names the states that it may leave: of two at once, one finds its order changed and does nothing.

// A hold that is over is not charged; what was sent to the provider stays so, whatever its hold.
const chargeable = `(status = 'charging' OR (status = 'pending' AND hold_until > now()))`

const beginCharging: Statement = {
  name: 'tickets-order-charging',
  text: `UPDATE orders SET status = 'charging', touched_at = now() WHERE id = $1 AND ${chargeable}`,
}

const takeChargeable: Statement = {
  name: 'tickets-order-take-chargeable',
  text: `UPDATE orders SET touched_at = now() WHERE id = $1 AND ${chargeable} RETURNING ${atWork}`,
}

const take: Statement = {
  name: 'tickets-order-take',
  text: `UPDATE orders SET touched_at = now() WHERE id = $1 AND status = $2 RETURNING ${atWork}`,
}

const select: Statement = { name: 'tickets-order-at-work', text: `SELECT ${atWork} FROM orders WHERE id = $1` }

// `pending` too: a failover may have lost the step to `charging`, and the tickets are still held.
const pay: Statement = {
  name: 'tickets-order-paid',
  text: `UPDATE orders SET status = 'paid', charge_id = $2, paid_at = now(), touched_at = now()
    WHERE id = $1 AND status IN ('pending', 'charging') RETURNING request_id`,
}

const release: Statement = {
  name: 'tickets-order-release',
  text: `UPDATE orders SET status = 'pending', touched_at = now() WHERE id = $1 AND status = 'charging'`,
}

const noteReturn: Statement = {
  name: 'tickets-order-returned',
  text: `UPDATE orders SET charge_id = $2 WHERE id = $1 AND charge_id IS NULL AND status IN ('failed', 'expired', 'cancelled')`,
}

const decline: Statement = {
  name: 'tickets-order-failed',
  text: `WITH failed AS (
      UPDATE orders SET status = 'failed', touched_at = now() WHERE id = $1 AND status IN ('pending', 'charging')
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

const stuck = `status IN ('pending', 'charging', 'paid', 'refunding') AND touched_at < now() - $2::int * interval '1 millisecond'`

const selectStuck: Statement = {
  name: 'tickets-orders-stuck',
  text: `SELECT id, status FROM orders WHERE ${stuck} ORDER BY touched_at LIMIT $1`,
}

// Touches all of them, also those that are left alone: they would be the oldest again at the next look, and hide the others.
const touchStuck = (outbox: Pick<Outbox, 'insert'>): Statement => ({
  name: 'tickets-orders-reemit',
  text: `WITH stuck AS (
      SELECT id FROM orders WHERE id = ANY ($1::uuid[]) AND ${stuck} ORDER BY id FOR UPDATE SKIP LOCKED
    ), touched AS (
      UPDATE orders SET touched_at = now() FROM stuck WHERE orders.id = stuck.id
      RETURNING orders.id, orders.status, orders.request_id
    ), again AS (
      SELECT * FROM touched WHERE id <> ALL ($3::uuid[])
    ), told AS (
      ${outbox.insert(`SELECT CASE status WHEN 'paid' THEN 'order.mail' WHEN 'refunding' THEN 'order.refund' ELSE 'order.charge' END,
        id::text, ${payloadSql('id', true)}, request_id, NULL FROM again`)}
    )
    SELECT count(*)::int AS again FROM again`,
})

/** The job that takes an order further, by its status. */
export const jobOf: Partial<Record<OrderStatus, string>> = {
  pending: 'order.charge',
  charging: 'order.charge',
  paid: 'order.mail',
  refunding: 'order.refund',
}

/** Marks the order as being worked on; returns `undefined` if it is in another state. */
export async function takeOrder(sql: Sql, id: string, status: OrderStatus): Promise<OrderAtWork | undefined> {
  const { rows } = await sql.query<AtWorkRow>(take, [id, status])
  return rows[0] && toAtWork(rows[0])
}

/** The same for an order that may be charged: its hold is not over, or its charge was begun already. */
export async function takeChargeableOrder(sql: Sql, id: string): Promise<OrderAtWork | undefined> {
  const { rows } = await sql.query<AtWorkRow>(takeChargeable, [id])
  return rows[0] && toAtWork(rows[0])
}

/** Whatever its state. */
export async function readOrderAtWork(sql: Sql, id: string): Promise<OrderAtWork | undefined> {
  const { rows } = await sql.query<AtWorkRow>(select, [id])
  return rows[0] && toAtWork(rows[0])
}

function toAtWork(row: AtWorkRow): OrderAtWork {
  return {
    id: row.id,
    number: Number(row.number),
    quantity: row.quantity,
    totalCents: Number(row.total_cents),
    currency: row.currency,
    requestId: row.request_id,
    status: row.status,
    chargeId: row.charge_id ?? undefined,
  }
}

/** From now on the money may move, and only the provider's answer ends it. `false`: it must not; the order was cancelled, say. */
export async function beginCharge(sql: Sql, id: string): Promise<boolean> {
  return (await sql.query(beginCharging, [id])).rowCount === 1
}

/** `charging` → `paid`, and the mail is on its way: both, or neither. `false`: the order is in another state, or there is none. */
export async function markPaid(
  postgres: Postgres,
  outbox: Pick<Outbox, 'add'>,
  id: string,
  chargeId: string,
  traceparent: string | undefined,
): Promise<boolean> {
  return postgres.transaction(async (tx) => {
    const { rows } = await tx.query<{ request_id: string }>(pay, [id, chargeId])
    if (rows[0]) await outbox.add(tx, mailMessage(id, rows[0].request_id, traceparent))
    return rows[0] !== undefined
  })
}

/** `charging` → `pending`: the provider has certainly not charged it. It can be cancelled again, and expires with its hold. */
export async function releaseOrder(sql: Sql, id: string): Promise<void> {
  await sql.query(release, [id])
}

/** Keeps the charge that was given back for an order that was over already. */
export async function noteReturnedCharge(sql: Sql, id: string, chargeId: string): Promise<void> {
  await sql.query(noteReturn, [id, chargeId])
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

/**
 * Queues the work of orders untouched for `stuckMs` once more, except of those whose job is a dead letter: those wait for an
 * operator. Returns how many orders it looked at, and how many it queued. Safe because handlers are idempotent.
 */
export async function reemitSome(
  postgres: Postgres,
  outbox: Pick<Outbox, 'insert'>,
  deadLetters: DeadAggregates,
  stuckMs: number,
  max: number,
): Promise<{ seen: number; emitted: number }> {
  const { rows } = await postgres.query<{ id: string; status: OrderStatus }>(selectStuck, [max, stuckMs])
  const dead: string[] = []
  for (const [type, orders] of Map.groupBy(rows, ({ status }) => jobOf[status] as string)) {
    dead.push(
      ...(await deadLetters.among(
        type,
        orders.map(({ id }) => id),
      )),
    )
  }
  const ids = rows.map(({ id }) => id)
  const touched = await postgres.query<{ again: number }>(touchStuck(outbox), [ids, stuckMs, dead])
  return { seen: rows.length, emitted: touched.rows[0]?.again ?? 0 }
}
