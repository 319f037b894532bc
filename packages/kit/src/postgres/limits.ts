import type { Sql } from './postgres.ts'

/**
 * What every later connection of this role to this database gets, so that neither a forgotten transaction nor a paused
 * replica can hold a row for long. `statement` is best a little below the client's own limit: a statement that the server
 * ends is over, while one that the client gave up goes on running there.
 */
export interface Limits {
  statementMs: number
  lockMs: number
  idleInTransactionMs: number
}

/** Returns the limits for a client that gives up after `timeoutMs`. */
export function limitsFor(timeoutMs: number): Limits {
  const part = (share: number) => Math.round(timeoutMs * share)
  return { statementMs: part(0.9), lockMs: part(0.75), idleInTransactionMs: part(0.75) }
}

// A server that is told nothing keeps the connections of a host that vanished for two hours, and counts them.
export const deadPeers = {
  tcp_keepalives_idle: 5,
  tcp_keepalives_interval: 2,
  tcp_keepalives_count: 3,
  tcp_user_timeout: 10_000,
}

type Query = (text: string) => Promise<unknown>

/** Sets them for the role that asks, in the database that it is connected to. They belong to the database: a copy has none. */
export async function setLimits(query: Query, limits: Limits): Promise<void> {
  await query(script(limits, false))
}

/**
 * Sets only what is missing. A role that serves may be another one than the role that migrates, and may change its own settings.
 * Does nothing where it may not, or where another process does the same at this moment.
 */
export async function completeLimits(sql: Sql, limits: Limits): Promise<void> {
  await sql.query(script(limits, true))
}

function script(limits: Limits, onlyMissing: boolean): string {
  const settings = {
    statement_timeout: limits.statementMs,
    lock_timeout: limits.lockMs,
    idle_in_transaction_session_timeout: limits.idleInTransactionMs,
    ...deadPeers,
  }
  const rows = Object.entries(settings).map(([name, value]) => `('${name}', '${value}')`)
  const known = `SELECT FROM pg_db_role_setting, unnest(setconfig) AS one
    WHERE setrole = (SELECT oid FROM pg_roles WHERE rolname = session_user) AND one LIKE wanted.name || '=%'
      AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))`
  // By role, not as startup parameters: PgBouncer refuses those.
  return `DO $$ DECLARE wanted record; BEGIN
    FOR wanted IN SELECT * FROM (VALUES ${rows.join(', ')}) AS list (name, value) LOOP
      ${onlyMissing ? `CONTINUE WHEN EXISTS (${known});` : ''}
      EXECUTE format('ALTER ROLE %I IN DATABASE %I SET %I = %L', session_user, current_database(), wanted.name, wanted.value);
    END LOOP;
  ${onlyMissing ? 'EXCEPTION WHEN insufficient_privilege OR internal_error THEN NULL;' : ''} END $$`
}
