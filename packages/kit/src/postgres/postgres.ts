import { setTimeout as wait } from 'node:timers/promises'
import pg from 'pg'
import { AppError } from '../errors/app-error.ts'
import { kitErrors } from '../errors/errors.ts'
import type { Logger } from '../log/log.ts'
import { currentRequestId } from '../log/request-id.ts'
import { carriedTracing, type Tracing } from '../tracing/tracing.ts'

/** SQL with a name of its own is parsed once per connection. A name must never be used for another text: Postgres refuses that. */
export interface Statement {
  name: string
  text: string
}

export interface Result<Row> {
  rows: Row[]
  rowCount: number
}

/** Runs one statement: on any connection, or inside one transaction. */
export interface Sql {
  query<Row = Record<string, unknown>>(statement: string | Statement, values?: unknown[]): Promise<Result<Row>>
}

export interface Postgres extends Sql {
  /**
   * `work` commits when it resolves and rolls back when it rejects. Serialization failures and deadlocks (40001, 40P01)
   * are tried again, five times in all, so `work` must have no effect outside of the transaction.
   */
  transaction<T>(work: (tx: Sql) => Promise<T>): Promise<T>
  /** Lets the pool have more connections; a pool never shrinks. */
  grow(maxConnections: number): void
  stats(): { total: number; idle: number; waiting: number; max: number }
  stop(): Promise<void>
}

export interface PostgresOptions {
  url: string
  log: Logger
  /** Shown in `pg_stat_activity`: the replica's id. */
  applicationName: string
  maxConnections: number
  /** Longest wait for a connection, and longest run of one statement as seen from here; of a single one, both together. */
  timeoutMs: number
  /** `false` behind a pooler that knows no named statements (PgBouncer before 1.21). */
  namedStatements?: boolean
  tracing?: Tracing
}

const maxTries = 5
// Of its time a statement has at least so much, however long it has waited: one that is given up costs a connection.
const leastShare = 0.1
const retryable = new Set(['40001', '40P01'])

/** Failures of the mechanism become `E_POSTGRES_UNAVAILABLE` (503); what the server says about the statement itself is thrown as it is. */
export function createPostgres(options: PostgresOptions): Postgres {
  const { log, timeoutMs, namedStatements = true, tracing = carriedTracing } = options
  const pool = new pg.Pool({
    connectionString: options.url,
    application_name: options.applicationName,
    max: options.maxConnections,
    connectionTimeoutMillis: timeoutMs,
    query_timeout: timeoutMs,
    idleTimeoutMillis: 30_000,
    keepAlive: true,
  })
  // Without a listener, one idle connection that the server ends would end the process.
  pool.on('error', (err) => log.warn({ err }, 'idle database connection lost'))
  // Nor may it when it comes while the connection changes hands: in one packet with the answer before it, say.
  pool.on('connect', (client) => client.on('error', () => undefined))
  let stopping: Promise<void> | undefined

  const run = async <Row>(
    client: pg.PoolClient,
    statement: string | Statement,
    values?: unknown[],
    query_timeout = timeoutMs,
  ) => {
    const startedAt = performance.now()
    try {
      const text = typeof statement === 'string' ? statement : statement.text
      const name = typeof statement === 'string' || !namedStatements ? undefined : statement.name
      const result = await tracing.span({ name: nameOf(statement), kind: 'client', attributes }, () =>
        client.query<pg.QueryResultRow>({ text, name, values, query_timeout } as pg.QueryConfig),
      )
      return { rows: result.rows as Row[], rowCount: result.rowCount ?? 0, command: result.command }
    } catch (error) {
      throw translate(error)
    } finally {
      if (log.isLevelEnabled('debug')) logQuery(statement, startedAt)
    }
  }

  /** By name, never with its values or its text: they may be somebody's. Not in the text either, which must stay one per name. */
  const logQuery = (statement: string | Statement, startedAt: number) => {
    const ms = Math.round((performance.now() - startedAt) * 10) / 10
    log.debug({ requestId: currentRequestId(), statement: nameOf(statement), ms }, 'query')
  }

  /** Rather than `pool.query`, which ends a healthy connection whenever a statement fails. */
  const withClient = async <T>(work: (client: pg.PoolClient) => Promise<T>): Promise<T> => {
    const client = await pool.connect().catch((error) => {
      throw translate(error)
    })
    // A connection that ends between two statements says so here; the next statement fails and is translated.
    const lost = (err: Error) => log.warn({ err }, 'database connection lost')
    client.on('error', lost)
    let broken = false
    try {
      return await work(client)
    } catch (error) {
      broken = isBroken(error)
      throw error
    } finally {
      client.off('error', lost)
      client.release(broken)
    }
  }

  const attempt = <T>(work: (tx: Sql) => Promise<T>): Promise<T> =>
    withClient(async (client) => {
      let ended = false
      let failure: unknown
      const query: Sql['query'] = (statement, values) => {
        if (ended) return Promise.reject(new Error('a statement came after its transaction had ended'))
        return run<never>(client, statement, values).catch((error) => {
          failure ??= error
          throw error
        })
      }
      try {
        await run(client, 'BEGIN')
        const result = await work({ query })
        ended = true
        const { command } = await run(client, 'COMMIT')
        // After a statement that failed, COMMIT rolls back and calls that a success.
        if (command === 'ROLLBACK') throw failure
        return result
      } catch (error) {
        ended = true
        if (isBroken(error)) throw error
        const undone = await run(client, 'ROLLBACK').catch((failed) => failed)
        throw isBroken(undone) ? undone : error
      }
    })

  return {
    query(statement, values) {
      const askedAt = performance.now()
      return withClient((client) => {
        const left = timeoutMs - (performance.now() - askedAt)
        return run(client, statement, values, Math.max(left, timeoutMs * leastShare))
      })
    },
    async transaction(work) {
      for (let tries = 1; ; tries++) {
        try {
          return await attempt(work)
        } catch (error) {
          if (tries >= maxTries || !retryable.has(sqlState(error) ?? '')) throw error
          await wait(Math.random() * 10 * 2 ** tries)
        }
      }
    },
    grow(maxConnections) {
      pool.options.max = Math.max(pool.options.max, maxConnections)
    },
    stats: () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount, max: pool.options.max }),
    stop: () => (stopping ??= pool.end()),
  }
}

const attributes = { 'db.system.name': 'postgresql' }

/** For people: `SELECT` where it has none. */
function nameOf(statement: string | Statement): string {
  return typeof statement === 'string' ? (/^\s*(\w+)/.exec(statement)?.[1] ?? 'SQL') : statement.name
}

/** The five-character SQLSTATE, if Postgres itself answered with an error. */
export function sqlState(error: unknown): string | undefined {
  return error instanceof pg.DatabaseError ? error.code : undefined
}

/** Whether the server refused a row because of this constraint. */
export function violates(error: unknown, constraint: string): boolean {
  return error instanceof pg.DatabaseError && error.constraint === constraint
}

// 08: connection; 53: too few resources; 57: ended or cancelled by somebody; 25P03: idle in a transaction for too long;
// 25006: read-only, as after a failover; 55P03: somebody else kept a row locked for too long
const unavailable = /^(08|53|57|25P03|25006|55P03)/

/** Whether the connection can be used no more: the server ended it, or we gave up waiting for an answer. */
function isBroken(error: unknown): boolean {
  if (!(error instanceof AppError) || error.code !== 'E_POSTGRES_UNAVAILABLE') return false
  const state = sqlState(error.cause)
  return state === undefined || /^(08|57P|25P03)/.test(state)
}

function translate(error: unknown): unknown {
  if (error instanceof AppError) return error
  const state = sqlState(error)
  if (state !== undefined && !unavailable.test(state)) return error
  return kitErrors.E_POSTGRES_UNAVAILABLE({ cause: error, retryAfterMs: 1000 })
}
