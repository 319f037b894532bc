import type { DeadAggregates } from '@escala/kit/jobs/jobs'
import type { Outbox } from '@escala/kit/outbox/outbox'
import type { Postgres, Sql, Statement } from '@escala/kit/postgres/postgres'
import { payloadSql } from './messages.ts'
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

const atWorkColumns = ['id', 'number', 'quantity', 'total_cents', 'currency', 'request_id', 'status', 'charge_id']
const atWork = atWorkColumns.join(', ')

// Every transition names the states that it may leave: of two at once, one finds its order changed and does nothing.

// A hold that is over is not charged; what was sent to the provider stays so, whatever its hold.
const chargeable = `(status = 'charging' OR (status = 'pending' AND hold_until > now()))`

const beginCharging: Statement = {
  name: 'tickets-order-charging',
  text: `UPDATE orders SET status = 'charging', touched_at = now() WHERE id = $1 AND ${chargeable}`,
}

// An order that was touched a moment ago is only read: a touch is a new version of the row, with an entry in every index.
const takeIf = (condition: string, touchMs: string) => `taken AS (
    SELECT ${atWork}, user_id, show_id, touched_at FROM orders WHERE id = $1 AND ${condition}
  ), touched AS (
    UPDATE orders SET touched_at = now() FROM taken
    WHERE orders.id = taken.id AND taken.touched_at < now() - ${touchMs}::int * interval '1 millisecond'
  )`

const takeChargeable: Statement = {
  name: 'tickets-order-take-chargeable',
  text: `WITH ${takeIf(chargeable, '$2')} SELECT ${atWork} FROM taken`,
}

const take: Statement = {
  name: 'tickets-order-take',
  text: `WITH ${takeIf('status = $3', '$2')} SELECT ${atWork} FROM taken`,
}

// The user may be deleted.
const takePaid: Statement = {
  name: 'tickets-order-take-paid',
  text: `WITH ${takeIf(`status = 'paid'`, '$2')}
    SELECT ${atWorkColumns.map((column) => `taken.${column}`).join(', ')}, users.email, shows.name AS show_name, shows.starts_at
    FROM taken JOIN shows ON shows.id = taken.show_id LEFT JOIN users ON users.id = taken.user_id`,
}

const select: Statement = { name: 'tickets-order-at-work', text: `SELECT ${atWork} FROM orders WHERE id = $1` }

// `pending` too: a failover may have lost the step to `charging`, and the tickets are still held.
const pay = (outbox: Pick<Outbox, 'insert'>): Statement => ({
  name: 'tickets-order-paid',
  text: `WITH paid AS (
      UPDATE orders SET status = 'paid', charge_id = $2, paid_at = now(), touched_at = now()
      WHERE id = $1 AND status IN ('pending', 'charging') RETURNING id, request_id
    )
    ${outbox.insert(`SELECT 'order.mail', id::text, ${payloadSql('id')}, request_id, $3::text FROM paid`)}`,
})

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

// Rows of shows are locked in one order, so that two sweeps cannot wait for each other. An array, since a generic plan takes $1 for a
// tenth of all orders that wait, and would join with every one of them.
const expireHolds: Statement = {
  name: 'tickets-orders-expire',
  text: `WITH due AS (
      SELECT id FROM orders WHERE status = 'pending' AND hold_until < now()
      ORDER BY hold_until LIMIT $1 FOR UPDATE SKIP LOCKED
    ), expired AS (
      UPDATE orders SET status = 'expired', touched_at = now()
      WHERE id = ANY (ARRAY(SELECT id FROM due)) AND status = 'pending'
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

const unsettled = `status IN ('pending', 'charging', 'paid', 'refunding')`
const stuck = `${unsettled} AND touched_at < now() - $2::int * interval '1 millisecond'`

// The ends of two indexes: what a sweep costs while there is nothing to do.
const selectDue: Statement = {
  name: 'tickets-orders-due',
  text: `SELECT
      coalesce((SELECT hold_until FROM orders WHERE status = 'pending' ORDER BY hold_until LIMIT 1) < now(), false) AS expiry,
      coalesce((SELECT touched_at FROM orders WHERE ${unsettled} ORDER BY touched_at LIMIT 1)
        < now() - $1::int * interval '1 millisecond', false) AS repetition`,
}

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
    ), messages AS (
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

/**
 * Marks the order as being worked on, unless it was marked within `touchMs`; returns `undefined` if it is in another state.
 * `touchMs` is a part of the time after which the sweep takes the order for stuck, which may be earlier by as much.
 */
export async function takeOrder(sql: Sql, id: string, status: OrderStatus, touchMs: number) {
  const { rows } = await sql.query<AtWorkRow>(take, [id, touchMs, status])
  return rows[0] && toAtWork(rows[0])
}

/** The same for an order that may be charged: its hold is not over, or its charge was begun already. */
export async function takeChargeableOrder(sql: Sql, id: string, touchMs: number): Promise<OrderAtWork | undefined> {
  const { rows } = await sql.query<AtWorkRow>(takeChargeable, [id, touchMs])
  return rows[0] && toAtWork(rows[0])
}

/** The same for an order whose mail is due, with where that goes and what for; `receiver` is `undefined` if the user was deleted. */
export async function takePaidOrder(sql: Sql, id: string, touchMs: number) {
  type Row = AtWorkRow & { email: string | null; show_name: string; starts_at: Date }
  const { rows } = await sql.query<Row>(takePaid, [id, touchMs])
  const row = rows[0]
  if (row === undefined) return undefined
  const receiver =
    row.email === null ? undefined : { email: row.email, showName: row.show_name, startsAt: row.starts_at }
  return { ...toAtWork(row), receiver }
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

/** From now on the money may move, and only the provider's response ends this. `false`: it must not, for example because the order was cancelled. */
export async function beginCharge(sql: Sql, id: string): Promise<boolean> {
  return (await sql.query(beginCharging, [id])).rowCount === 1
}

/** `charging` → `paid`, and the mail is on its way: both, or neither. `false`: the order is in another state, or there is none. */
export async function markPaid(
  sql: Sql,
  outbox: Pick<Outbox, 'insert'>,
  id: string,
  chargeId: string,
  traceparent: string | undefined,
): Promise<boolean> {
  return (await sql.query(pay(outbox), [id, chargeId, traceparent ?? null])).rowCount === 1
}

/** `charging` → `pending`: the provider has certainly not charged it. It can be cancelled again, and expires with its hold. */
export async function releaseOrder(sql: Sql, id: string): Promise<void> {
  await sql.query(release, [id])
}

/** Keeps the charge that was given back for an order that was over already. */
export async function noteReturnedCharge(sql: Sql, id: string, chargeId: string): Promise<void> {
  await sql.query(noteReturn, [id, chargeId])
}

/** `charging` → `failed`; the tickets are returned; returns the new availability. */
export async function markFailed(sql: Sql, id: string): Promise<ShowAvailability[]> {
  const { rows } = await sql.query<ShowAvailability>(decline, [id])
  return rows
}

/** One step whose tickets stay where they are: `paid` → `confirmed`, `refunding` → `cancelled`. */
export async function settleOrder(sql: Sql, id: string, from: OrderStatus, to: OrderStatus): Promise<void> {
  await sql.query(settle, [id, from, to])
}

/** Returns whether there are holds that ran out, and orders untouched for `stuckMs`. */
export async function whatIsDue(sql: Sql, stuckMs: number): Promise<{ expiry: boolean; repetition: boolean }> {
  const { rows } = await sql.query<{ expiry: boolean; repetition: boolean }>(selectDue, [stuckMs])
  return rows[0] ?? { expiry: false, repetition: false }
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
  if (rows.length === 0) return { seen: 0, emitted: 0 }
  const ids = rows.map(({ id }) => id)
  const touched = await postgres.query<{ again: number }>(touchStuck(outbox), [ids, stuckMs, dead])
  return { seen: rows.length, emitted: touched.rows[0]?.again ?? 0 }
}
