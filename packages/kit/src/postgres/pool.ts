import pg from 'pg'
import { kitErrors } from '../errors/errors.ts'
import type { Logger } from '../log/log.ts'
import { BoundedClient } from './client.ts'
import type { Connections } from './connections.ts'
import { describeFailure, isRefusal, isShutdown, translateConnecting } from './failures.ts'

export interface PoolOptions {
  url: string
  log: Logger
  applicationName: string
  maxConnections: number
  timeoutMs: number
  lifetimeMs: number
  connections: Connections
  /** Uses the database also while `connections` does not allow it. */
  exempt: boolean
}

/** A connection of the pool, and what is known about it. */
export interface Connection extends pg.PoolClient {
  readonly generation: number
  /** As the server last reported: a standby, or read-only by default. Without a query, since Postgres 14. */
  readonly readOnly: boolean
  /** Set when it must not be used again. */
  spoiled: boolean
  /** Names of the statements that were prepared here and have worked. */
  readonly prepared: Set<string>
  /** When the server last answered here, by `performance.now()`. */
  heardAt: number
}

export interface Pool {
  /** Rejects with `E_POSTGRES_UNAVAILABLE`. */
  take(): Promise<Connection>
  give(connection: Connection): void
  /** Whether the connection must not be used again: it is too old, broken, silent, or leads to a server that is no longer the primary. */
  isStale(connection: Connection): boolean
  /** Logs that the server refuses this process, at most every ten seconds. */
  reportRefusal(error: unknown): void
  grow(maxConnections: number): void
  stats(): { total: number; idle: number; waiting: number; max: number }
  end(): Promise<void>
}

const refusalLogMs = 10_000
// How long connections to a server that takes no writes may serve reads, before it is asked for a better one.
const readOnlyMs = 1000

export function createPool(options: PoolOptions): Pool {
  const { log, connections, exempt, lifetimeMs } = options
  let loggedAt = Number.NEGATIVE_INFINITY

  class Client extends BoundedClient {
    readonly generation = connections.generation()
    // At random, so that connections that were begun together do not end together.
    readonly endsAt = performance.now() + lifetimeMs * (0.8 + Math.random() * 0.2)
    readonly prepared = new Set<string>()
    heardAt = performance.now()
    readonly reported = new Map<string, string>()
    spoiled = false

    constructor(config?: pg.ClientConfig) {
      super(config)
      const { connection } = this as unknown as { connection: NodeJS.EventEmitter }
      connection.on('parameterStatus', ({ parameterName, parameterValue }) => {
        if (/^(in_hot_standby|default_transaction_read_only)$/.test(parameterName))
          this.reported.set(parameterName, parameterValue)
      })
    }

    get readOnly(): boolean {
      return [...this.reported.values()].includes('on')
    }
  }

  const pool = new pg.Pool({
    connectionString: options.url,
    application_name: options.applicationName,
    max: options.maxConnections,
    connectionTimeoutMillis: options.timeoutMs,
    query_timeout: options.timeoutMs,
    idleTimeoutMillis: 30_000,
    keepAlive: true,
    pipeline: true, // for the shared connection; an exclusive user of a connection sends one statement at a time
    Client,
  } as pg.PoolConfig)
  // Without a listener, one idle connection that the server ends would end the process.
  pool.on('error', (err, client) => {
    if (isShutdown(err)) connections.retire((client as unknown as Connection).generation, 'the server shuts down')
    log.warn({ err }, 'idle database connection lost')
  })
  pool.on('connect', (client) => {
    // Without this listener, an error that arrives while the connection changes hands would end the process.
    client.on('error', () => undefined)
    const connection = client as unknown as Connection
    connection.heardAt = performance.now()
    const { readOnly, generation } = connection
    connections.setProblem(readOnly ? 'the server is read-only' : undefined)
    if (readOnly) connections.retire(generation, 'the server is read-only', readOnlyMs)
  })

  const allowed = () => exempt || connections.allowed()
  const isStale = (client: pg.PoolClient | Connection) => {
    const { spoiled, generation, endsAt, heardAt } = client as unknown as Client
    return (
      spoiled ||
      heardAt < connections.suspectBefore() ||
      generation < connections.generation() ||
      performance.now() > endsAt ||
      !allowed()
    )
  }
  /** Takes what is idle and gives it back, so that what is stale is ended; what is in use comes back by itself. */
  const endIdle = () => {
    for (let count = pool.idleCount; count > 0; count--) {
      pool.connect((_error, client, release) => client && release(isStale(client)))
    }
  }
  const stopHearing = connections.onRetire(endIdle)
  const stopSuspecting = connections.onSuspect(endIdle)

  const reportRefusal = (error: unknown) => {
    if (performance.now() - loggedAt < refusalLogMs) return
    loggedAt = performance.now()
    log.error({ err: error }, 'the database refuses this process')
  }
  const connect = async () => {
    const begunAt = performance.now()
    try {
      return await pool.connect()
    } catch (error) {
      if (!pool.ending && !isFull(error)) connections.setProblem(describeFailure(error), begunAt)
      if (isRefusal(error)) reportRefusal(error)
      throw translateConnecting(error)
    }
  }

  return {
    async take() {
      for (;;) {
        if (!allowed()) throw notAllowed()
        const client = await connect()
        if (!isStale(client)) return client as unknown as Connection
        client.release(true)
      }
    },
    reportRefusal,
    give: (connection) => connection.release(isStale(connection)),
    isStale,
    grow(maxConnections) {
      pool.options.max = Math.max(pool.options.max, maxConnections)
    },
    stats: () => ({ total: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount, max: pool.options.max }),
    async end() {
      stopHearing()
      stopSuspecting()
      await pool.end()
    },
  }
}

/** All connections were in use for too long: nothing is wrong with the server. */
function isFull(error: unknown): boolean {
  return error instanceof Error && error.message === 'timeout exceeded when trying to connect'
}

function notAllowed() {
  const cause = new Error('this process has no place among those that may use the database: it waits to be admitted')
  return kitErrors.E_POSTGRES_UNAVAILABLE({ cause, retryAfterMs: 1000 })
}
