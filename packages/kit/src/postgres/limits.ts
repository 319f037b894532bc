import { bootErrors } from '../errors/errors.ts'
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

const statementShare = 0.9

/** Returns the limits for a client that gives up after `timeoutMs`. */
export function limitsFor(timeoutMs: number): Limits {
  const part = (share: number) => Math.round(timeoutMs * share)
  return { statementMs: part(statementShare), lockMs: part(0.75), idleInTransactionMs: part(0.75) }
}

// By default a server keeps the connections of a host that vanished for two hours, and counts them.
export const deadPeers = {
  tcp_keepalives_idle: 5,
  tcp_keepalives_interval: 2,
  tcp_keepalives_count: 3,
  tcp_user_timeout: 10_000,
}

type Query = (text: string) => Promise<unknown>

/** Sets them for the role that asks, in the database that it is connected to. They belong to the database: a copy has none. */
export async function setLimits(query: Query, limits: Limits): Promise<void> {
  await query(script(settingsOf(limits), false))
}

/**
 * Sets what is missing, and lets the time limits follow `timeoutMs` where they are what this kit has set for another value of it.
 * What somebody else has set stays. A role that serves may be another one than the role that migrates, and may change its own
 * settings. Does nothing where it may not, or where another process does the same at this moment.
 * Throws `E_CONFIG` when the server would go on with a statement that this process has given up.
 */
export async function alignLimits(sql: Sql, timeoutMs: number): Promise<void> {
  const known = await readSettings(sql)
  const wanted = settingsOf(limitsFor(timeoutMs))
  const follows = isOfKit(known) ? timeLimits : []
  const due = Object.entries(wanted).filter(
    ([name, value]) => !known.has(name) || (follows.includes(name) && known.get(name) !== String(value)),
  )
  if (due.length > 0) await sql.query(script(Object.fromEntries(due), true))
  if (follows.length > 0) return
  const statementMs = toMs(known.get('statement_timeout'))
  if (statementMs === undefined || (statementMs > 0 && statementMs < timeoutMs)) return
  throw bootErrors.E_CONFIG({
    detail:
      `the role's statement_timeout is ${known.get('statement_timeout')}, and DATABASE_TIMEOUT_MS=${timeoutMs} gives a statement up before: ` +
      'the server would go on with it. Raise DATABASE_TIMEOUT_MS, or run ALTER ROLE … IN DATABASE … RESET statement_timeout; see docs/postgres.md',
  })
}

/** What the role has in this database, by name. */
async function readSettings(sql: Sql): Promise<Map<string, string>> {
  // What holds for one database comes last: it wins.
  const { rows } = await sql.query<{ one: string }>(
    `SELECT unnest(setconfig) AS one FROM pg_db_role_setting
     WHERE setrole = (SELECT oid FROM pg_roles WHERE rolname = session_user)
       AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) ORDER BY setdatabase`,
  )
  return new Map(rows.map(({ one }) => [one.slice(0, one.indexOf('=')), one.slice(one.indexOf('=') + 1)]))
}

/** Whether all three are what `limitsFor` makes of one and the same time. Three other values by chance are as good as impossible. */
function isOfKit(known: Map<string, string>): boolean {
  const [statement, ...others] = timeLimits.map((name) => known.get(name))
  const about = Math.round(Number(statement) / statementShare)
  return [about - 1, about, about + 1].some((timeoutMs) => {
    const { statementMs, lockMs, idleInTransactionMs } = limitsFor(timeoutMs)
    return [statement, ...others].join() === [statementMs, lockMs, idleInTransactionMs].join()
  })
}

const units: Record<string, number> = { us: 0.001, ms: 1, s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000 }

function toMs(setting: string | undefined): number | undefined {
  const [, number, unit = 'ms'] = /^(\d+(?:\.\d+)?)\s*(us|ms|s|min|h|d)?$/.exec(setting ?? '') ?? []
  return number === undefined ? undefined : Number(number) * (units[unit] as number)
}

const timeLimits = ['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout']

const settingsOf = ({ statementMs, lockMs, idleInTransactionMs }: Limits): Record<string, number> => ({
  statement_timeout: statementMs,
  lock_timeout: lockMs,
  idle_in_transaction_session_timeout: idleInTransactionMs,
  ...deadPeers,
})

function script(settings: Record<string, number>, isOptional: boolean): string {
  const rows = Object.entries(settings).map(([name, value]) => `('${name}', '${value}')`)
  // By role, not as startup parameters: PgBouncer refuses those.
  return `DO $$ DECLARE wanted record; BEGIN
    FOR wanted IN SELECT * FROM (VALUES ${rows.join(', ')}) AS list (name, value) LOOP
      EXECUTE format('ALTER ROLE %I IN DATABASE %I SET %I = %L', session_user, current_database(), wanted.name, wanted.value);
    END LOOP;
  ${isOptional ? 'EXCEPTION WHEN insufficient_privilege OR internal_error THEN NULL;' : ''} END $$`
}
