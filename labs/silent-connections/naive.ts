import { createPostgresIdempotency } from '@escala/kit/idempotency/postgres'
import { createBullmqConsumer } from '@escala/kit/jobs/bullmq'
import { createRedisSessions } from '@escala/kit/sessions/redis'
import { Redis } from 'ioredis'
import pg from 'pg'
import type { Parts } from '../../apps/api/src/parts.ts'
import type { Parts as WorkerParts } from '../../apps/worker/src/parts.ts'

/** Sessions and orders over default clients that are given only the address. */
export const apiParts: Partial<Parts> = {
  sessions: ({ config }) => createRedisSessions({ redis: new Redis(config.REDIS_URL) }),
  idempotency: ({ config, postgres }) => {
    const pool = new pg.Pool({ connectionString: config.DATABASE_URL })
    return createPostgresIdempotency({
      postgres: {
        ...postgres,
        async query<Row>(statement: string | { text: string }, values?: unknown[]) {
          const text = typeof statement === 'string' ? statement : statement.text
          const { rows, rowCount } = await pool.query(text, values)
          return { rows: rows as Row[], rowCount: rowCount ?? 0 }
        },
      },
    })
  },
}

/** Jobs over a connection with the one option that BullMQ demands. */
export const workerParts: Partial<WorkerParts> = {
  consumer: ({ config, log, lanes, handlers }) =>
    createBullmqConsumer({ redis: new Redis(config.REDIS_URL, { maxRetriesPerRequest: null }), log, lanes, handlers }),
}
