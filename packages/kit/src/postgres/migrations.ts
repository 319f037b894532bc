import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { bootErrors } from '../errors/errors.ts'
import type { Logger } from '../log/log.ts'
import { builtIndex, dropInvalid, isConcurrent, isInvalid } from './invalid-indexes.ts'
import { type Limits, limitsFor, setLimits } from './limits.ts'
import type { Sql } from './postgres.ts'
import { type Session, withSession } from './session.ts'

/** `NNNN_name.sql` files, run in the order of their numbers; recorded as `<name>/<file without .sql>`. */
export interface MigrationFolder {
  name: string
  url: URL
  /** Files that came from another folder: file without `.sql` → the name under which they are recorded. */
  formerly?: Record<string, string>
}

/** Returns the folder of a module. */
export function migrationsOf(module: Omit<MigrationFolder, 'url'> & { migrations: URL }): MigrationFolder {
  const { name, migrations: url, formerly } = module
  return { name, url, formerly }
}

export const kitMigrations: MigrationFolder = { name: 'kit', url: new URL('./migrations/', import.meta.url) }

export interface MigrateOptions {
  /** Address of the server itself, not of a pooler: the lock belongs to one session. */
  url: string
  /** In the order in which they run: the kit's first. */
  folders: MigrationFolder[]
  log: Logger
  /** For people: one line for each thing that happens. */
  report?: (line: string) => void
  /** Longest wait for another migration to finish, and for a table that is in use. */
  waitMs?: number
  limits?: Limits
  /** See `SessionOptions`. */
  beatMs?: number
}

interface Migration {
  name: string
  sql: string
  checksum: string
  transactional: boolean
}

// Any number will do, as long as nobody else uses it in this database.
const lockKey = 7_215_301_449
const lockPauseMs = 500

/**
 * Applies what is missing, each file once, whoever else tries at the same time. A file runs in a transaction of its own;
 * one whose first line is `-- no transaction` (for `CREATE INDEX CONCURRENTLY`) runs statement by statement, each ending with
 * `;` at the end of a line, and must be able to run again after a crash. An index that an earlier try left invalid is dropped
 * first, and nothing is recorded unless the index is valid.
 * Throws `E_MIGRATION_FAILED`: nothing of the failing file remains, unless it runs without a transaction, and those before it stay applied.
 */
export async function migrate(options: MigrateOptions): Promise<{ applied: string[] }> {
  const { url, folders, log, report = () => {}, waitMs = 120_000, beatMs } = options
  const migrations = await readMigrations(folders)
  return await withSession({ url, applicationName: 'migrate', beatMs }, async (session) => {
    // The limits are for requests; a migration may take its time. But statements that need a table while the migration waits for it
    // waits behind the migration, so that wait must be a small part of what a request can wait.
    const limits = options.limits ?? limitsFor(2000)
    const lockMs = Math.ceil(Math.min(limits.statementMs, limits.lockMs) / 5)
    await session.query(
      `SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET lock_timeout = ${lockMs}`,
    )
    await lock(session, waitMs, report) // the end of the session gives it back
    await session.query(`CREATE TABLE IF NOT EXISTS migrations (
      name text PRIMARY KEY,
      checksum text NOT NULL,
      applied_at timestamptz NOT NULL DEFAULT now()
    )`)
    await setLimits((text) => session.query(text), limits)
    const applied: string[] = []
    for (const migration of pending(migrations, await recorded((text) => session.query(text)))) {
      await apply(session, migration, { waitMs, lockMs, report })
      log.info({ migration: migration.name }, 'migration applied')
      report(`applied ${migration.name}`)
      applied.push(migration.name)
    }
    return { applied }
  })
}

/** Names of the migrations that this code knows and the database lacks: a replica is not ready while there are any. */
export async function missingMigrations(sql: Sql, folders: MigrationFolder[]): Promise<string[]> {
  const migrations = await readMigrations(folders)
  const { rows } = await sql.query<{ found: boolean }>(`SELECT to_regclass('migrations') IS NOT NULL AS found`)
  const known = rows[0]?.found ? await recorded((text) => sql.query(text)) : new Map<string, string>()
  return migrations.filter(({ name }) => !known.has(name)).map(({ name }) => name)
}

async function readMigrations(folders: MigrationFolder[]): Promise<Migration[]> {
  const migrations: Migration[] = []
  for (const folder of folders) {
    const path = fileURLToPath(folder.url)
    const files = (await readdir(path)).filter((file) => file.endsWith('.sql')).sort()
    const numbers = new Set<string>()
    for (const file of files) {
      const number = /^(\d{4})_[a-z0-9_]+\.sql$/.exec(file)?.[1]
      if (number === undefined) throw failed(`${folder.name}/${file}: a migration is named NNNN_name.sql`)
      if (numbers.has(number))
        throw failed(`${folder.name}/${file}: there is another migration with the number ${number}`)
      numbers.add(number)
      const base = file.slice(0, -'.sql'.length)
      const sql = (await readFile(join(path, file), 'utf8')).replaceAll('\r\n', '\n')
      migrations.push({
        name: folder.formerly?.[base] ?? `${folder.name}/${base}`,
        sql,
        checksum: createHash('sha256').update(sql).digest('hex'),
        transactional: !/^--\s*no transaction\s*\n/i.test(sql),
      })
    }
  }
  return migrations
}

/** Asks again and again rather than waiting in the server: a session that waits there would block `CREATE INDEX CONCURRENTLY`. */
async function lock(session: Session, waitMs: number, report: (line: string) => void): Promise<void> {
  const deadline = Date.now() + waitMs
  let isReported = false
  while (true) {
    const { rows } = await session.query<{ locked: boolean }>('SELECT pg_try_advisory_lock($1) AS locked', [lockKey])
    if (rows[0]?.locked) return
    if (!isReported) report('waiting for another migration to finish')
    isReported = true
    if (Date.now() >= deadline) throw failed(`another migration is still running after ${waitMs / 1000} s`)
    await wait(100)
  }
}

async function recorded(query: (text: string) => Promise<{ rows: unknown[] }>): Promise<Map<string, string>> {
  const { rows } = await query('SELECT name, checksum FROM migrations')
  return new Map((rows as { name: string; checksum: string }[]).map(({ name, checksum }) => [name, checksum]))
}

function pending(migrations: Migration[], known: Map<string, string>): Migration[] {
  return migrations.filter(({ name, checksum }) => {
    const before = known.get(name)
    if (before !== undefined && before !== checksum) {
      throw failed(
        `${name}: the file was changed after it had been applied. Restore it, and put the change in a new migration`,
      )
    }
    return before === undefined
  })
}

interface Patience {
  waitMs: number
  lockMs: number
  report(line: string): void
}

async function apply(session: Session, migration: Migration, patience: Patience): Promise<void> {
  const record = () =>
    session.query('INSERT INTO migrations (name, checksum) VALUES ($1, $2)', [migration.name, migration.checksum])
  if (migration.transactional) {
    return await withTries(session, migration, migration.sql, patience, async () => {
      try {
        await session.query('BEGIN')
        await session.query(migration.sql)
        await record()
        await session.query('COMMIT')
      } catch (error) {
        await session.query('ROLLBACK').catch(() => undefined)
        throw error
      }
    })
  }
  const statements = migration.sql.split(/(?<=;)[ \t]*\n/).filter((text) => /^\s*[^\s-]/m.test(text))
  for (const text of statements) {
    await withTries(session, migration, text, patience, () => runConcurrently(session, text, patience))
  }
  await record()
}

/** Tries until the table is free, with pauses, in which those who queued behind the last try get their turn. */
async function withTries(
  session: Session,
  migration: Migration,
  text: string,
  { waitMs, report }: Patience,
  work: () => Promise<void>,
): Promise<void> {
  const deadline = Date.now() + waitMs
  let isReported = false
  while (true) {
    try {
      return await work()
    } catch (error) {
      const state = error instanceof pg.DatabaseError ? error.code : undefined
      // 55P03: the table was in use; 40P01: others and this statement waited for each other
      if (!/^(55P03|40P01)$/.test(state ?? '')) throw failed(describe(migration, text, error), error)
      if (Date.now() > deadline)
        throw failed(describe(migration, text, error, await oldestTransactions(session)), error)
      if (!isReported) report(`${migration.name}: waiting for a table that is in use`)
      isReported = true
      await wait(lockPauseMs * (0.5 + Math.random()))
    }
  }
}

/** Runs one statement outside of a transaction. An index that was not built to its end is removed: it would cost every write. */
async function runConcurrently(session: Session, text: string, { waitMs, lockMs }: Patience): Promise<void> {
  if (!isConcurrent(text)) return void (await session.query(text))
  const index = builtIndex(text)
  // It waits for transactions that are under way, and nothing waits for it meanwhile.
  await session.query(`SET lock_timeout = ${waitMs}`)
  try {
    if (index !== undefined) await dropInvalid(session, index)
    await session.query(text).catch(async (error) => {
      if (index !== undefined) await dropInvalid(session, index).catch(() => undefined) // the next try does, too
      throw error
    })
    if (index !== undefined && (await isInvalid(session, index))) throw new Error(`the index ${index} is not valid`)
  } finally {
    await session.query(`SET lock_timeout = ${lockMs}`).catch(() => undefined)
  }
}

/** Names who may be in the way: a statement that gave up waiting does not say for whom. */
async function oldestTransactions(session: Session): Promise<string> {
  const { rows } = await session.query(
    `SELECT coalesce(nullif(application_name, ''), usename, 'a client') AS who, pid,
       extract(epoch FROM clock_timestamp() - xact_start)::int AS seconds
     FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
     ORDER BY xact_start LIMIT 3`,
  )
  const list = rows.map(({ who, pid, seconds }) => `${who} (pid ${pid}) for ${seconds} s`).join(', ')
  return list && `; transactions that are open: ${list}`
}

function describe(migration: Migration, text: string, error: unknown, reason = ''): string {
  const position = error instanceof pg.DatabaseError ? Number(error.position) : Number.NaN
  const offset = migration.sql.indexOf(text)
  const line = Number.isNaN(position) ? '' : `, line ${migration.sql.slice(0, offset + position).split('\n').length}`
  const state = error instanceof pg.DatabaseError ? error.code : undefined
  const remains =
    state === undefined || /^(08|57P)/.test(state) // its end may have been under way
      ? 'the next try finds out what of this file was applied'
      : migration.transactional
        ? 'nothing of this file was applied'
        : 'statements before it were applied'
  return `${migration.name}.sql${line}: ${error instanceof Error ? error.message : String(error)}${reason} (${remains})`
}

function failed(detail: string, cause?: unknown) {
  return bootErrors.E_MIGRATION_FAILED({ detail, cause })
}
