import { type Outbox, outboxInsert } from './outbox.ts'

const insert = { name: 'outbox-insert', text: `${outboxInsert} VALUES ($1, $2, $3, $4) RETURNING id` }

export function createPostgresOutbox(): Outbox {
  return {
    async add(tx, { type, aggregate, payload, requestId }) {
      const values = [type, aggregate, JSON.stringify(payload ?? null), requestId ?? null]
      const { rows } = await tx.query<{ id: string }>(insert, values)
      return (rows[0] as { id: string }).id
    },
  }
}
