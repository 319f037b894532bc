import type { Outbox } from './outbox.ts'

const head = 'INSERT INTO outbox (type, aggregate, payload, request_id, traceparent)'
const addOne = { name: 'outbox-insert', text: `${head} VALUES ($1, $2, $3, $4, $5) RETURNING id` }

export function createPostgresOutbox(): Outbox {
  return {
    scope: 'cluster', // it writes in its caller's transaction
    async add(tx, { type, aggregate, payload, requestId, traceparent }) {
      const values = [type, aggregate, JSON.stringify(payload ?? null), requestId ?? null, traceparent ?? null]
      const { rows } = await tx.query<{ id: string }>(addOne, values)
      return (rows[0] as { id: string }).id
    },
    insert: (select) => `${head} ${select}`,
  }
}
