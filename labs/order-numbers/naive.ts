import type { EffectStatement, IdempotentRequest } from '@escala/kit/idempotency/idempotency'
import { createPostgresIdempotency } from '@escala/kit/idempotency/postgres'
import type { Sql } from '@escala/kit/postgres/postgres'
import type { Parts } from '../../apps/api/src/parts.ts'

/** Where the numbers stand is read once, with the first order; from then on this process counts. */
export const apiParts: Partial<Parts> = {
  idempotency({ postgres }) {
    const idempotency = createPostgresIdempotency({ postgres })
    const nextNumber = createCounter(postgres)
    return {
      ...idempotency,
      runBatch: undefined,
      async runStatement<Row>(request: IdempotentRequest, effect: EffectStatement) {
        const outcome = await idempotency.runStatement<Row>(request, effect)
        if (outcome === undefined || outcome.replayed) return outcome
        const order = outcome.response.body as { id: string }
        const number = await nextNumber()
        await postgres.query('UPDATE orders SET number = $2 WHERE id = $1', [order.id, number])
        return { ...outcome, response: { status: 201, body: { ...order, number } } }
      },
    }
  },
}

function createCounter(sql: Sql): () => Promise<number> {
  let highest: Promise<number> | undefined
  let given = 0
  return async () => {
    highest ??= sql
      .query<{ highest: number }>('SELECT coalesce(max(number), 1000)::int AS highest FROM orders')
      .then(({ rows }) => rows[0]?.highest ?? 1000)
    return (await highest) + ++given
  }
}
