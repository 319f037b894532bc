import { createPostgresIdempotency } from '@escala/kit/idempotency/postgres'
import pg from 'pg'
import type { Parts } from '../../apps/api/src/parts.ts'

/** Orders over a pool that outlives an outage, in transactions as the documentation of `pg` shows them. */
export const apiParts: Partial<Parts> = {
  idempotency: ({ config, postgres, log }) => {
    const pool = new pg.Pool({ connectionString: config.DATABASE_URL })
    pool.on('error', (err) => log.warn({ err }, 'idle database connection lost'))
    pool.on('connect', (client) => client.on('error', () => undefined))
    const query = async <Row>(statement: string | { text: string }, values?: unknown[]) => {
      const client = await pool.connect()
      try {
        await client.query('BEGIN')
        const { rows, rowCount } = await client.query(
          typeof statement === 'string' ? statement : statement.text,
          values,
        )
        await client.query('COMMIT')
        return { rows: rows as Row[], rowCount: rowCount ?? 0 }
      } catch (error) {
        await client.query('ROLLBACK').catch(() => undefined)
        throw error
      } finally {
        client.release()
      }
    }
    return createPostgresIdempotency({ postgres: { ...postgres, query } })
  },
}
