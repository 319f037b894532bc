import { createPostgresIdempotency } from '@escala/kit/idempotency/postgres'
import pg from 'pg'
import type { Parts } from '../../apps/api/src/parts.ts'

/** Orders over a pool that is given only the address. */
export const apiParts: Partial<Parts> = {
  idempotency: ({ config, postgres }) => {
    const pool = new pg.Pool({ connectionString: config.DATABASE_URL })
    const idempotency = createPostgresIdempotency({
      postgres: {
        ...postgres,
        async query<Row>(statement: string | { text: string }, values?: unknown[]) {
          const text = typeof statement === 'string' ? statement : statement.text
          const { rows, rowCount } = await pool.query(text, values)
          return { rows: rows as Row[], rowCount: rowCount ?? 0 }
        },
      },
    })
    return { ...idempotency, runBatch: undefined } // each order with a connection of its own
  },
}
