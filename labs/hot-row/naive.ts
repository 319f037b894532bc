import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import type { EffectStatement, IdempotentRequest } from '@escala/kit/idempotency/idempotency'
import { createPostgresIdempotency } from '@escala/kit/idempotency/postgres'
import type { Sql } from '@escala/kit/postgres/postgres'
import type { Parts } from '../../apps/api/src/parts.ts'

/** A lock in Redis for each show, and the steps of an order in a transaction: exact, on any number of replicas. */
export const apiParts: Partial<Parts> = {
  idempotency({ postgres, redis }) {
    const idempotency = createPostgresIdempotency({ postgres })
    const locked = async <T>(showId: string, work: () => Promise<T>): Promise<T> => {
      const [key, token] = [`lock:${showId}`, randomUUID()]
      while ((await redis.set(key, token, 'PX', 10_000, 'NX')) === null) await wait(2 + Math.random() * 8)
      try {
        return await work()
      } finally {
        if ((await redis.get(key)) === token) await redis.del(key)
      }
    }
    return {
      ...idempotency,
      runBatch: undefined,
      async runStatement<Row>(request: IdempotentRequest, { values }: EffectStatement) {
        let sold: { body: unknown } | undefined
        const outcome = await locked(String(values[2]), () =>
          idempotency.run(request, async (tx) => {
            sold = await sell(tx, values)
            return { status: 201, body: sold.body }
          }),
        )
        const { response, replayed } = outcome
        return replayed ? { response, replayed } : { response, replayed, row: sold as Row }
      },
    }
  },
}

async function sell(tx: Sql, values: unknown[]): Promise<{ body: unknown }> {
  const [id, userId, showId, quantity, holdMs, requestId] = values as [string, string, string, number, number, string]
  const { rows } = await tx.query<{ available: number }>('SELECT available FROM shows WHERE id = $1', [showId])
  const available = (rows[0]?.available ?? 0) - quantity
  if (available < 0) throw new Error('sold out')
  await tx.query('UPDATE shows SET available = $2, revision = revision + 1 WHERE id = $1', [showId, available])
  const placed = await tx.query<{ body: unknown }>(insertOrder, [id, userId, showId, quantity, holdMs, requestId])
  await tx.query(insertMessage, [id, requestId])
  return placed.rows[0] as { body: unknown }
}

const insertOrder = `WITH placed AS (
    INSERT INTO orders (id, user_id, show_id, quantity, total_cents, currency, hold_until, request_id)
    SELECT $1, $2, id, $4::int, price_cents::bigint * $4::int, currency, now() + $5::int * interval '1 millisecond', $6
    FROM shows WHERE id = $3
    RETURNING *
  )
  SELECT available, revision, json_build_object('id', placed.id, 'number', number, 'status', status,
    'quantity', quantity, 'totalCents', total_cents) AS body
  FROM placed JOIN shows ON shows.id = placed.show_id`

const insertMessage = `INSERT INTO outbox (type, aggregate, payload, request_id)
  VALUES ('order.charge', $1::text, json_build_object('version', 1, 'orderId', $1::text), $2)`
