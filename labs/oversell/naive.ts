import type { EffectStatement, IdempotentRequest } from '@escala/kit/idempotency/idempotency'
import { createPostgresIdempotency } from '@escala/kit/idempotency/postgres'
import type { Sql } from '@escala/kit/postgres/postgres'
import type { Parts } from '../../apps/api/src/parts.ts'

/**
 * Read, check, write, one order at a time, in the place of the one statement. On one replica this is right: the mutex is held
 * until the transaction has committed. On three, each has a mutex of its own.
 */
export const apiParts: Partial<Parts> = {
  idempotency({ postgres }) {
    const idempotency = createPostgresIdempotency({ postgres })
    const mutex = createMutex()
    return {
      ...idempotency,
      runBatch: undefined,
      runStatement: <Row>(request: IdempotentRequest, { values }: EffectStatement) =>
        mutex(async () => {
          let sold: { body: unknown } | undefined
          const run = idempotency.run(request, async (tx) => {
            sold = await readCheckWrite(tx, values)
            if (sold === undefined) throw soldOut
            return { status: 201, body: sold.body }
          })
          const outcome = await run.catch((error) => (error === soldOut ? undefined : Promise.reject(error)))
          if (outcome === undefined) return undefined
          const { response, replayed } = outcome
          return replayed ? { response, replayed } : { response, replayed, row: sold as Row }
        }),
    }
  },
}

const soldOut = new Error('sold out')

function createMutex() {
  let last: Promise<unknown> = Promise.resolve()
  return <T>(work: () => Promise<T>): Promise<T> => {
    const mine = last.then(work)
    last = mine.catch(() => undefined)
    return mine
  }
}

async function readCheckWrite(tx: Sql, values: unknown[]): Promise<{ body: unknown } | undefined> {
  const [id, userId, showId, quantity, holdMs, requestId] = values as [string, string, string, number, number, string]
  const { rows } = await tx.query<{ available: number }>('SELECT available FROM shows WHERE id = $1', [showId])
  const available = (rows[0]?.available ?? 0) - quantity
  if (available < 0) return undefined
  await tx.query('UPDATE shows SET available = $2, revision = revision + 1 WHERE id = $1', [showId, available])
  const placed = await tx.query<{ body: unknown }>(insertOrder, [id, userId, showId, quantity, holdMs, requestId])
  return placed.rows[0]
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
