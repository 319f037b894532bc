import { spawn } from 'node:child_process'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { withClient } from './test-database.ts'

const lockKey = 1_093_847_261
const here = fileURLToPath(new URL('../../..', import.meta.url))

/** Of every seeded account. */
export const seedPassword = 'the seeds of a lab'

/**
 * Makes a migrated and seeded database to copy from, once per server and version of the code: a copy takes 50 ms, the migrate
 * step a second.
 */
export async function templateDatabase(adminUrl: string, checkout = here): Promise<string> {
  const name =
    checkout === here ? 'escala_template' : `escala_template_of_${basename(checkout).toLowerCase().replace(/\W/g, '_')}`
  await withClient(adminUrl, async (client) => {
    await client.query('SELECT pg_advisory_lock($1)', [lockKey]) // test files run side by side
    const { rowCount } = await client.query('SELECT FROM pg_database WHERE datname = $1', [name])
    if (rowCount) return
    const unfinished = `${name}_unfinished`
    await client.query(`DROP DATABASE IF EXISTS ${unfinished} WITH (FORCE)`)
    await client.query(`CREATE DATABASE ${unfinished}`)
    const url = new URL(adminUrl)
    url.pathname = `/${unfinished}`
    await migrate(url.href, checkout)
    await client.query(`ALTER DATABASE ${unfinished} RENAME TO ${name}`)
  })
  return name
}

async function migrate(url: string, checkout: string): Promise<void> {
  const env = { PATH: process.env.PATH, DATABASE_URL: url, SEED_PASSWORD: seedPassword }
  const child = spawn(process.execPath, [join(checkout, 'apps/api/src/migrate.ts'), '--seed'], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  child.stdout.on('data', (chunk) => (output += chunk))
  child.stderr.on('data', (chunk) => (output += chunk))
  const code = await new Promise((resolve) => child.once('close', resolve))
  if (code !== 0) throw new Error(`the migrate step failed:\n${output}`)
}
