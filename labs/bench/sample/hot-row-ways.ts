import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { hasCode } from '@escala/kit/errors/app-error'
import { createMemoryEvents } from '@escala/kit/events/memory'
import type { IdempotentRequest } from '@escala/kit/idempotency/idempotency'
import { createPostgresIdempotency } from '@escala/kit/idempotency/postgres'
import type { Logger } from '@escala/kit/log/log'
import { createPostgresOutbox } from '@escala/kit/outbox/postgres'
import type { Postgres, Sql } from '@escala/kit/postgres/postgres'
import { createOrderDesk } from '@escala/tickets/order-desk'
import { type NewOrder, placeOrder } from '@escala/tickets/orders'
import type { Redis } from 'ioredis'

/** Places one order; resolves to `false` when it is refused because nothing is left. */
export type Sell = (request: IdempotentRequest, order: NewOrder) => Promise<boolean>

/** Ways to sell, each of which leaves the same: less stock, an order, a message, a key with its stored response. */
export const ways = ['lock', 'for update', 'statement', 'batch'] as const

export interface WaysOptions {
  redis: Redis
  log: Logger
}

/** How one replica sells in each way. */
export function createWays(postgres: Postgres, { redis, log }: WaysOptions): Record<(typeof ways)[number], Sell> {
  const outbox = createPostgresOutbox()
  const idempotency = createPostgresIdempotency({ postgres })
  const desk = createOrderDesk({ postgres, idempotency, outbox, events: createMemoryEvents() })
  const deadline = new AbortController().signal
  return {
    async lock(request, order) {
      const key = `lock:${order.showId}`
      while ((await redis.set(key, order.id, 'PX', 60_000, 'NX')) === null) await wait(2 + Math.random() * 8)
      try {
        return await postgres.transaction((tx) => sellInSteps(tx, request, order))
      } finally {
        await redis.del(key)
      }
    },
    'for update': (request, order) =>
      postgres.transaction(async (tx) => {
        await tx.query(statements.lock, [order.showId])
        return await sellInSteps(tx, request, order)
      }),
    async statement(request, order) {
      return (await idempotency.runStatement(request, placeOrder(order, outbox))) !== undefined
    },
    batch: (request, order) =>
      desk.place({ request, order, log, isOpen: () => true, deadline }).then(
        () => true,
        (error) => {
          if (hasCode(error, 'E_SOLD_OUT')) return false
          throw error
        },
      ),
  }
}

const statements = {
  lock: { name: 'bench-lock', text: 'SELECT FROM shows WHERE id = $1 FOR UPDATE' },
  key: {
    name: 'bench-key',
    text: 'SELECT fingerprint, status, body FROM idempotency_keys WHERE owner = $1 AND key = $2',
  },
  read: { name: 'bench-read', text: 'SELECT available, price_cents, currency FROM shows WHERE id = $1' },
  write: { name: 'bench-write', text: 'UPDATE shows SET available = $2, revision = revision + 1 WHERE id = $1' },
  order: {
    name: 'bench-order',
    text: `INSERT INTO orders (id, user_id, show_id, quantity, total_cents, currency, hold_until, request_id)
      VALUES ($1, $2, $3, $4, $5, $6, now() + interval '15 minutes', $7) RETURNING number, status`,
  },
  message: {
    name: 'bench-message',
    text: `INSERT INTO outbox (type, aggregate, payload, request_id) VALUES ('order.charge', $1, $2, $3)`,
  },
  store: {
    name: 'bench-store',
    text: 'INSERT INTO idempotency_keys (owner, key, fingerprint, status, body) VALUES ($1, $2, $3, 201, $4)',
  },
}

async function sellInSteps(tx: Sql, request: IdempotentRequest, order: NewOrder): Promise<boolean> {
  const { owner, key, fingerprint } = request
  const { id, userId, showId, quantity, requestId } = order
  if ((await tx.query(statements.key, [owner, key])).rowCount > 0) return true
  const { rows } = await tx.query<{ available: number; price_cents: number; currency: string }>(statements.read, [
    showId,
  ])
  const [show] = rows
  if (show === undefined || show.available < quantity) return false
  await tx.query(statements.write, [showId, show.available - quantity])
  const totalCents = show.price_cents * quantity
  const placed = await tx.query<{ number: string; status: string }>(statements.order, [
    ...[id, userId, showId, quantity, totalCents, show.currency, requestId],
  ])
  await tx.query(statements.message, [id, JSON.stringify({ version: 1, orderId: id }), requestId])
  await tx.query(statements.store, [
    owner,
    key,
    fingerprint,
    JSON.stringify({ id, ...placed.rows[0], quantity, totalCents }),
  ])
  return true
}

/** An order of one ticket by a user who has not ordered before. */
export function newOrder(userId: string, showId: string): [IdempotentRequest, NewOrder] {
  const request = { owner: showId, key: randomUUID(), fingerprint: 'f'.repeat(43) }
  const order = {
    ...{ id: randomUUID(), userId, showId, quantity: 1, holdMs: 900_000, requestId: 'r'.repeat(32) },
    ...{ traceparent: undefined, isOpen: true, maxPerBuyer: 0 },
  }
  return [request, order]
}
