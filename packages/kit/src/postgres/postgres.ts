import { setTimeout as wait } from 'node:timers/promises'
import pg from 'pg'
import type { Logger } from '../log/log.ts'
import { currentRequestId } from '../log/request-id.ts'
import { carriedTracing, type Tracing } from '../tracing/tracing.ts'
import { type Connections, createConnections } from './connections.ts'
import {
  isConflict,
  isReadOnly,
  isRefusal,
  isShutdown,
  isUnanswered,
  mayBeOutdated,
  spoils,
  sqlState,
  translate,
  translateConnecting,
} from './failures.ts'
import { type Connection, createPool } from './pool.ts'
import { createSharedConnection } from './shared.ts'
import type { Statement } from './statement.ts'

export { sqlState, violates } from './failures.ts'
export type { Statement } from './statement.ts'

export interface Result<Row> {
  rows: Row[]
  rowCount: number
}

/** Runs one statement: on any connection, or inside one transaction. */
export interface Sql {
  /** Outside of a transaction, repeats the statement after a serialization failure or a deadlock, five times in all. */
  query<Row = Record<string, unknown>>(statement: string | Statement, values?: unknown[]): Promise<Result<Row>>
}

export interface Postgres extends Sql {
  /**
   * Commits when `work` resolves and rolls back when it rejects. Runs `work` again after a serialization failure or a deadlock
   * (40001, 40P01), five times in all, so `work` must have no effect outside of the transaction.
   * `statementMs`: the longest run of each of its statements, in place of `timeoutMs`. For jobs; no request waits so long.
   */
  transaction<T>(work: (tx: Sql) => Promise<T>, options?: { statementMs?: number }): Promise<T>
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
  /** What the connections of this process share; default: nothing but this pool. */
  connections?: Connections
  /** Uses the database also while `connections` does not allow it: for the registry, which asks for the place. */
  exempt?: boolean
  /** Greatest age of a connection; each ends after 80 to 100 % of it, between two statements. Default: five minutes. */
  lifetimeMs?: number
}

const maxTries = 5
// The share of the timeout that a statement has at least, however long it waited: abandoning one costs a connection.
const leastShare = 0.1

/** Failures of the mechanism become `E_POSTGRES_UNAVAILABLE` (503); what the server says about the statement itself is thrown as it is. */
export function createPostgres(options: PostgresOptions): Postgres {
  const { log, timeoutMs, namedStatements = true, tracing = carriedTracing } = options
  const { connections = createConnections({ log }), exempt = false, lifetimeMs = 300_000 } = options
  const pool = createPool({ ...options, connections, exempt, lifetimeMs })
  // Errors after which the same work can succeed on another connection that prepares its statements again.
  const outdated = new WeakSet<object>()
  let stopping: Promise<void> | undefined

  const run = async <Row>(
    client: Connection,
    statement: string | Statement,
    values?: unknown[],
    { named = namedStatements, query_timeout = timeoutMs } = {},
  ) => {
    const startedAt = performance.now()
    const text = typeof statement === 'string' ? statement : statement.text
    const name = typeof statement === 'string' || !named ? undefined : statement.name
    try {
      const ask = () => send(client, text, values, { name, query_timeout })
      const span = () => tracing.span({ name: nameOf(statement), kind: 'client', attributes }, ask)
      const result = await (tracing === carriedTracing ? ask() : span())
      client.heardAt = performance.now()
      if (name !== undefined) client.prepared.add(name)
      return { rows: result.rows as Row[], rowCount: result.rowCount ?? 0, command: result.command }
    } catch (error) {
      if (error instanceof Error) Error.captureStackTrace(error) // leads to who asked, and not to the socket
      if (sqlState(error) !== undefined) client.heardAt = performance.now()
      else if (isUnanswered(error)) connections.suspect(startedAt)
      judge(client, error, name)
      throw translate(error)
    } finally {
      if (log.isLevelEnabled('debug')) logQuery(statement, startedAt)
    }
  }

  /** Draws conclusions about the connection, and about all others, from an error of one statement. */
  const judge = (client: Connection, error: unknown, name: string | undefined) => {
    if (isReadOnly(error)) connections.retire(client.generation, 'the server is read-only')
    if (isRefusal(error)) pool.reportRefusal(error)
    if (isShutdown(error)) connections.retire(client.generation, 'the server shuts down')
    // In a pipeline, those behind a first use that failed meet a name that is not there, or is there twice.
    const isUnknown = /^(26000|42P05)$/.test(sqlState(error) ?? '')
    const isOutdated = name !== undefined && (isUnknown || (client.prepared.has(name) && mayBeOutdated(error)))
    if (isOutdated) outdated.add(error as object)
    if (isOutdated || spoils(error)) client.spoiled = true
  }

  const lost = (client: Connection, err: Error) => {
    judge(client, err, undefined)
    log.warn({ err }, 'database connection lost')
  }
  const shared = createSharedConnection({ pool, connections, onLost: lost })

  /** By name, never with its values or its text: they may be personal data. Not in the text either, which must stay one per name. */
  const logQuery = (statement: string | Statement, startedAt: number) => {
    const ms = Math.round((performance.now() - startedAt) * 10) / 10
    log.debug({ requestId: currentRequestId(), statement: nameOf(statement), ms }, 'query')
  }

  /** For what has waited already: the pool itself would wait once more for as long. */
  const takeWithin = async (ms: number): Promise<Connection> => {
    const taking = pool.take()
    const taken = await Promise.race([taking, wait(Math.max(ms, 1), undefined, { ref: false })])
    if (taken) return taken
    taking.then(pool.give, () => undefined)
    throw translateConnecting(new Error('no connection in time'))
  }

  /** Rather than `pool.query`, which ends a healthy connection whenever a statement fails. */
  const withClient = async <T>(work: (client: Connection) => Promise<T>, takeMs?: number): Promise<T> => {
    const client = await (takeMs === undefined ? pool.take() : takeWithin(takeMs))
    // A connection that ends between two statements says so here; the next statement fails and is translated.
    const onError = (err: Error) => lost(client, err)
    client.on('error', onError)
    try {
      return await work(client)
    } finally {
      client.off('error', onError)
      pool.give(client)
    }
  }

  const attempt = <T>(work: (tx: Sql) => Promise<T>, named: boolean, statementMs?: number): Promise<T> =>
    withClient(async (client) => {
      // The server ends the statement a little earlier than this process gives it up: the connection stays.
      const query_timeout = statementMs === undefined ? timeoutMs : statementMs + timeoutMs
      let ended = false
      let failure: unknown
      const query: Sql['query'] = (statement, values) => {
        if (ended) return Promise.reject(new Error('a statement came after its transaction had ended'))
        return run<never>(client, statement, values, { named, query_timeout }).catch((error) => {
          failure ??= error
          throw error
        })
      }
      try {
        await run(client, 'BEGIN')
        if (statementMs !== undefined) await run(client, `SET LOCAL statement_timeout = ${Math.round(statementMs)}`)
        const result = await work({ query })
        ended = true
        const { command } = await run(client, 'COMMIT')
        // After a statement that failed, COMMIT rolls back and calls that a success.
        if (command === 'ROLLBACK') throw failure
        return result
      } catch (error) {
        ended = true
        // The server rolls back when the connection ends, which it does next.
        if (!client.spoiled) await run(client, 'ROLLBACK')
        throw error
      }
    })

  /** Repeats what had no effect and can succeed: after a conflict, and once after a statement turned out to be outdated. */
  const repeat = async <T>(once: (named: boolean) => Promise<T>, mayGoOn = () => true): Promise<T> => {
    let named = namedStatements
    for (let tries = 1; ; tries++) {
      try {
        return await once(named)
      } catch (error) {
        const isOutdated = named && outdated.has(error as object)
        if (!isOutdated && !isConflict(error)) throw error
        if (tries >= maxTries || !mayGoOn()) throw translateConnecting(error)
        if (isOutdated) named = false
        else await wait(Math.random() * 10 * 2 ** tries)
      }
    }
  }

  return {
    query(statement, values) {
      const askedAt = performance.now()
      const left = () => timeoutMs - (performance.now() - askedAt)
      const runOn = (client: Connection, named: boolean) =>
        run<never>(client, statement, values, { named, query_timeout: Math.max(left(), timeoutMs * leastShare) })
      const once = async (named: boolean) => {
        const client = named ? shared.borrow(statement) : undefined
        if (client === undefined) return withClient((own) => runOn(own, named))
        try {
          return await runOn(client, named)
        } catch (error) {
          // Lost with the connection, whosever fault that was.
          if (!client.spoiled || left() <= 0) throw error
        } finally {
          shared.done(client)
        }
        return withClient((own) => runOn(own, named), left())
      }
      return repeat(once, () => left() > 0)
    },
    transaction: (work, { statementMs } = {}) => repeat((named) => attempt(work, named, statementMs)),
    grow: pool.grow,
    stats: pool.stats,
    stop() {
      shared.end()
      stopping ??= pool.end()
      return stopping
    },
  }
}

/** As `client.query` with an object, which it would copy with all descriptors of its properties. */
function send(client: Connection, text: string, values: unknown[] | undefined, options: object) {
  const query = Object.assign(new pg.Query<pg.QueryResultRow>(text, values), options)
  return new Promise<pg.QueryResult>((resolve, reject) => {
    client.query(
      Object.assign(query, {
        callback: (error: Error | null, result: pg.QueryResult) => (error ? reject(error) : resolve(result)),
      }),
    )
  })
}

const attributes = { 'db.system.name': 'postgresql' }

/** For people: `SELECT` where it has none. */
function nameOf(statement: string | Statement): string {
  return typeof statement === 'string' ? (/^\s*(\w+)/.exec(statement)?.[1] ?? 'SQL') : statement.name
}
