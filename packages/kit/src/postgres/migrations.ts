import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { bootErrors } from '../errors/errors.ts'
import type { Logger } from '../log/log.ts'
import { type Limits, limitsFor, setLimits } from './limits.ts'
import type { Sql } from './postgres.ts'

/** `NNNN_name.sql` files, run in the order of their numbers; recorded as `<name>/<file without .sql>`. */
export interface MigrationFolder {
  name: string
  url: URL
}

export const kitMigrations: MigrationFolder = { name: 'kit', url: new URL('./migrations/', import.meta.url) }

export interface MigrateOptions {
  /** Of the server itself, not of a pooler: the lock belongs to one session. */
  url: string
  /** In the order in which they run: the kit's first. */
  folders: MigrationFolder[]
  log: Logger
  /** For people: one line for each thing that happens. */
  report?: (line: string) => void
  /** Longest wait for another migration to finish. */
  waitMs?: number
  limits?: Limits
}

interface Migration {
  name: string
  sql: string
  checksum: string
  transactional: boolean
}

// Any number will do, as long as nobody else uses it in this database.
const lockKey = 7_215_301_449
const maxLockTries = 5

/**
 * Applies what is missing, each file once, whoever else tries at the same time. A file runs in a transaction of its own;
 * one whose first line is `-- no transaction` (for `CREATE INDEX CONCURRENTLY`) runs statement by statement, each ending with
 * `;` at the end of a line, and must be able to run again after a crash.
 * Throws `E_MIGRATION_FAILED`: nothing of the failing file remains, and those before it stay applied.
 */
export async function migrate(options: MigrateOptions): Promise<{ applied: string[] }> {
  const { url, folders, log, report = () => {}, waitMs = 120_000 } = options
  const migrations = await readMigrations(folders)
  const client = new pg.Client({ connectionString: url, application_name: 'migrate', connectionTimeoutMillis: 5000 })
  client.on('error', (err) => log.warn({ err }, 'database connection lost while migrating'))
  await client.connect()
  try {
    // The limits below are for requests; a migration may take its time, but must not queue for a table in front of everybody.
    await client.query(
      `SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET lock_timeout = '5s'`,
    )
    await lock(client, waitMs, report)
    await client.query(`CREATE TABLE IF NOT EXISTS migrations (
      name text PRIMARY KEY,
      checksum text NOT NULL,
      applied_at timestamptz NOT NULL DEFAULT now()
    )`)
    await setLimits((text) => client.query(text), options.limits ?? limitsFor(2000))
    const applied: string[] = []
    for (const migration of pending(migrations, await recorded((text) => client.query(text)))) {
      await apply(client, migration)
      log.info({ migration: migration.name }, 'migration applied')
      report(`applied ${migration.name}`)
      applied.push(migration.name)
    }
    return { applied }
  } finally {
    await client.end().catch(() => undefined) // gives the lock back, too
  }
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
      const sql = (await readFile(join(path, file), 'utf8')).replaceAll('\r\n', '\n')
      migrations.push({
        name: `${folder.name}/${file.slice(0, -'.sql'.length)}`,
        sql,
        checksum: createHash('sha256').update(sql).digest('hex'),
        transactional: !/^--\s*no transaction\s*\n/i.test(sql),
      })
    }
  }
  return migrations
}

/** Asks again and again rather than waiting in the server: a session that waits there would block `CREATE INDEX CONCURRENTLY`. */
async function lock(client: pg.Client, waitMs: number, report: (line: string) => void): Promise<void> {
  const deadline = Date.now() + waitMs
  for (let told = false; ; told = true) {
    const { rows } = await client.query<{ locked: boolean }>('SELECT pg_try_advisory_lock($1) AS locked', [lockKey])
    if (rows[0]?.locked) return
    if (!told) report('waiting for another migration to finish')
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

async function apply(client: pg.Client, migration: Migration): Promise<void> {
  const record = () =>
    client.query('INSERT INTO migrations (name, checksum) VALUES ($1, $2)', [migration.name, migration.checksum])
  for (let tries = 1; ; tries++) {
    let text = migration.sql
    try {
      if (migration.transactional) {
        await client.query('BEGIN')
        await client.query(text)
        await record()
        await client.query('COMMIT')
      } else {
        for (text of migration.sql.split(/(?<=;)[ \t]*\n/)) if (/^\s*[^\s-]/m.test(text)) await client.query(text)
        await record()
      }
      return
    } catch (error) {
      if (migration.transactional) await client.query('ROLLBACK').catch(() => undefined)
      const state = error instanceof pg.DatabaseError ? error.code : undefined
      // 55P03: the table was in use for longer than the lock timeout. Those who queued behind us go first, then we try again.
      if (state !== '55P03' || tries >= maxLockTries) throw failed(describe(migration, text, error), error)
      await wait(200 * tries)
    }
  }
}

function describe(migration: Migration, text: string, error: unknown): string {
  const position = error instanceof pg.DatabaseError ? Number(error.position) : Number.NaN
  const offset = migration.sql.indexOf(text)
  const line = Number.isNaN(position) ? '' : `, line ${migration.sql.slice(0, offset + position).split('\n').length}`
  const remains = migration.transactional ? 'nothing of this file was applied' : 'statements before it were applied'
  return `${migration.name}.sql${line}: ${error instanceof Error ? error.message : String(error)} (${remains})`
}

function failed(detail: string, cause?: unknown) {
  return bootErrors.E_MIGRATION_FAILED({ detail, cause })
}
