import { setTimeout as wait } from 'node:timers/promises'
import type pg from 'pg'
import { BoundedClient } from './client.ts'
import { describeFailure, sqlState } from './failures.ts'
import { deadPeers } from './limits.ts'

/** One connection for a program that runs and ends: a migration, a script. What serves has a pool. */
export interface Session {
  /** Takes as long as the server works on it; rejects when the connection is lost or has gone silent. */
  query<Row extends pg.QueryResultRow = pg.QueryResultRow>(
    text: string,
    values?: unknown[],
  ): Promise<pg.QueryResult<Row>>
}

export interface SessionOptions {
  url: string
  /** Shown in `pg_stat_activity`. */
  applicationName: string
  /** Time without a reply until the server is asked about the statement, on another connection; then again and again. */
  beatMs?: number
}

const connectMs = 5000
const defaultBeatMs = 5000
const maxUnanswered = 3
// A server that works on a statement does not notice by itself that its client is gone.
const checkClientMs = 1000

/**
 * Connects, runs `work` and ends the connection. Nothing waits for a server that does not answer: connecting takes five seconds at
 * most, and while a statement has no reply, the server is asked whether it still works on it. So a statement may take hours, and
 * a connection that has gone silent is given up within seconds; its session is ended at the server, with the locks that it holds.
 * Throws an error whose message is for people.
 */
export async function withSession<T>(options: SessionOptions, work: (session: Session) => Promise<T>): Promise<T> {
  const client = createClient(options)
  try {
    await connect(client)
    return await work(await watched(client, options))
  } finally {
    await client.end().catch(() => undefined)
  }
}

function createClient({ url, applicationName }: SessionOptions, answerMs?: number): BoundedClient {
  const client = new BoundedClient({
    connectionString: url,
    application_name: applicationName,
    connectionTimeoutMillis: answerMs ?? connectMs,
    query_timeout: answerMs,
    keepAlive: true,
    keepAliveInitialDelayMillis: 5000,
  })
  client.on('error', () => undefined) // the next statement fails
  return client
}

async function connect(client: BoundedClient): Promise<void> {
  await client.connect().catch((error: unknown) => {
    const isLate = error instanceof Error && error.message === 'timeout expired'
    const reason = isLate
      ? `no answer within ${connectMs / 1000} s. Look whether the server runs, and whether a firewall is in the way`
      : describeFailure(error)
    throw new Error(`cannot connect to Postgres at ${addressOf(client)}: ${reason}`, { cause: error })
  })
}

async function watched(client: BoundedClient, options: SessionOptions): Promise<Session> {
  const { beatMs = defaultBeatMs } = options
  let broken: Error | undefined
  let self: Self | undefined

  const run: Session['query'] = async (text, values) => {
    if (broken) throw broken
    const answered = new AbortController()
    try {
      return await Promise.race([client.query(text, values), silence(answered.signal)])
    } catch (error) {
      if (sqlState(error) === undefined && !(error instanceof TypeError))
        broken ??= lost(client, describeFailure(error))
      throw broken ?? error
    } finally {
      answered.abort()
    }
  }

  /** Rejects once the connection is known to have gone silent. */
  const silence = async (signal: AbortSignal): Promise<never> => {
    let idleSince: string | undefined
    let unanswered = 0
    while (true) {
      await wait(beatMs, undefined, { signal })
      const seen = await look(options, self)
      if (signal.aborted) throw signal.reason
      unanswered = seen === undefined ? unanswered + 1 : 0
      if (unanswered >= maxUnanswered) throw new Error('the server does not answer')
      if (seen?.state === 'gone') throw new Error('the server has ended it')
      // It waits for a statement, so the one that was sent, or the reply to it, is lost.
      const isIdle = seen?.state.startsWith('idle') ?? false
      if (isIdle && idleSince === seen?.since) {
        await end(options, self)
        throw new Error('the server has replied, and nothing arrived')
      }
      idleSince = isIdle ? seen?.since : undefined
    }
  }

  await run(detectDeadPeers)
  const { rows } = await run<Self>(
    'SELECT pid, extract(epoch FROM backend_start)::text AS born FROM pg_stat_activity WHERE pid = pg_backend_pid()',
  )
  self = rows[0]
  return { query: run }
}

// So that the server ends the session of a client that died or cannot be reached, and frees its locks. Not every system knows these.
const detectDeadPeers = `DO $$ BEGIN
  BEGIN SET client_connection_check_interval = ${checkClientMs}; EXCEPTION WHEN OTHERS THEN NULL; END;
  ${Object.entries(deadPeers)
    .map(([name, value]) => `SET ${name} = ${value};`)
    .join('\n  ')}
EXCEPTION WHEN OTHERS THEN NULL; END $$`

/** Distinguishes this session from every other one of the same server. */
interface Self {
  pid: number
  born: string
}

interface Seen {
  state: string
  since?: string
}

/** Asks what the session does, on a connection that is new; `undefined` when there is no answer. */
async function look(options: SessionOptions, self?: Self): Promise<Seen | undefined> {
  const asking = `SELECT coalesce(state, 'unknown') AS state, state_change::text AS since FROM pg_stat_activity
    WHERE pid = $1 AND extract(epoch FROM backend_start) = $2::numeric`
  try {
    // Until the session knows itself, all that it sends is answered at once.
    const [row] = await ask<Seen>(options, self ? asking : `SELECT 'idle' AS state, '' AS since`, self)
    return row ?? { state: 'gone' }
  } catch (error) {
    // A server that refuses is running: for example, all of its connections are in use.
    return sqlState(error) === undefined ? undefined : { state: 'unknown' }
  }
}

/** Frees what the session holds; its client cannot hear of it. */
async function end(options: SessionOptions, self?: Self): Promise<void> {
  const ending = `SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity
    WHERE pid = $1 AND extract(epoch FROM backend_start) = $2::numeric`
  if (self) await ask(options, ending, self).catch(() => undefined)
}

async function ask<Row extends pg.QueryResultRow>(options: SessionOptions, text: string, self?: Self): Promise<Row[]> {
  const { beatMs = defaultBeatMs } = options
  const client = createClient(options, beatMs)
  try {
    await client.connect()
    return (await client.query<Row>(text, self && [self.pid, self.born])).rows
  } finally {
    await client.end().catch(() => undefined)
  }
}

function lost(client: BoundedClient, reason: string): Error {
  return new Error(
    `the connection to Postgres at ${addressOf(client)} was lost: ${reason}. Look at the network and at the server's log, then run this again`,
  )
}

function addressOf({ host, port }: BoundedClient): string {
  return host.startsWith('/') ? host : `${host}:${port}`
}
