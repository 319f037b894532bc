import { readdir, readFile } from 'node:fs/promises'
import { setTimeout as wait } from 'node:timers/promises'
import pg from 'pg'
import { migrationFolders } from '../../apps/api/src/modules.ts'
import { newMigrations } from './new-migrations.ts'

/**
 * "The API migrates when it starts": looks which files are missing, runs them, writes down that it has. With one replica
 * that is all there is to it.
 */
const folders = process.env.LAB_NEXT_VERSION ? [...migrationFolders, newMigrations] : migrationFolders
const client = await connect()
await client.query(`CREATE TABLE IF NOT EXISTS migrations
  (name text, checksum text NOT NULL DEFAULT '', applied_at timestamptz NOT NULL DEFAULT now())`)
const { rows } = await client.query<{ name: string }>('SELECT name FROM migrations')
const done = new Set(rows.map(({ name }) => name))
for (const { name: module, url } of folders) {
  for (const file of (await readdir(url)).sort()) {
    const name = `${module}/${file.replace('.sql', '')}`
    if (done.has(name)) continue
    const sql = await readFile(new URL(file, url), 'utf8')
    const isOwn = sql.startsWith('-- no transaction')
    if (!isOwn) await client.query('BEGIN')
    await client.query(sql)
    await client.query('INSERT INTO migrations (name) VALUES ($1)', [name])
    if (!isOwn) await client.query('COMMIT')
  }
}
await client.end()

export const apiParts = {}

/** Beside a database that starts at the same time, the first tries are refused. */
async function connect(): Promise<pg.Client> {
  for (let tries = 1; ; tries++) {
    const client = new pg.Client({ connectionString: process.env.DATABASE_URL })
    try {
      await client.connect()
      return client
    } catch {
      if (tries === 1) console.log('waiting for Postgres')
      await wait(20)
    }
  }
}
