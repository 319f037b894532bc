import { randomBytes } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { seedAccounts } from '@escala/accounts/seed'
import { baseSettings, withPasswords } from '@escala/kit/config/base'
import { readConfig } from '@escala/kit/config/config'
import { createLog } from '@escala/kit/log/log'
import { grantServing } from '@escala/kit/postgres/grants'
import { limitsFor } from '@escala/kit/postgres/limits'
import { migrate } from '@escala/kit/postgres/migrations'
import { createPostgres, sqlState } from '@escala/kit/postgres/postgres'
import { withSession } from '@escala/kit/postgres/session'
import { z } from 'zod'
import { dataModules, flagsRole, migrationFolders } from './modules.ts'
import { wantsSeed } from './seed.ts'

const usage = `usage: npm run migrate [-- --seed]

Brings the schema up to date: the step before any replica starts. Uses MIGRATION_DATABASE_URL, or otherwise DATABASE_URL.
  --seed   also makes the accounts and rows for development`

if (process.argv.includes('--help')) {
  console.log(usage)
  process.exit(0)
}
const unknown = process.argv.slice(2).find((argument) => !/^--seed(=.*)?$/.test(argument)) // Compose passes --seed=0
if (unknown !== undefined) {
  console.error(`unknown option: ${unknown}\n\n${usage}`)
  process.exit(2)
}
const config = read()
const url = config.MIGRATION_DATABASE_URL ?? config.DATABASE_URL
const own = { url, applicationName: 'migrate' }
for (const output of [process.stdout, process.stderr]) output.on('error', () => undefined) // its reader may have gone
const say = (line: string) => console.log(`migrate: ${line}`)
const log = createLog({ service: 'migrate', replicaId: 'migrate', version: '', level: 'warn' })

try {
  await waitForPostgres(60_000)
  const { applied } = await migrate({
    url,
    folders: migrationFolders,
    log,
    report: say,
    limits: limitsFor(config.DATABASE_TIMEOUT_MS),
  }).catch(async (error) => {
    await grant().catch(() => undefined) // what was applied before serves already
    throw error
  })
  await grant()
  say(applied.length === 0 ? 'the schema is up to date' : `${applied.length} migration(s) applied`)
  if (wantsSeed(process.argv)) await seed()
} catch (error) {
  console.error(`migrate: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 1
}

/** Lets the role that serves use the tables, where another one owns them. */
async function grant(): Promise<void> {
  if (!config.MIGRATION_DATABASE_URL) return
  const role = decodeURIComponent(new URL(config.DATABASE_URL).username)
  await withSession(own, (session) => grantServing(session, role))
}

function read() {
  try {
    return readConfig(withPasswords(process.env), {
      DATABASE_URL: baseSettings.DATABASE_URL,
      /** Address of the role that owns the schema, if that is not the role that serves. */
      MIGRATION_DATABASE_URL: baseSettings.DATABASE_URL.optional(),
      DATABASE_TIMEOUT_MS: baseSettings.DATABASE_TIMEOUT_MS,
      SEED_PASSWORD: z.string().min(8).max(200).optional().describe('8 to 200 characters'),
    })
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error))
    process.exit(1)
  }
}

/** Retries refused connections: the database may still be starting. */
async function waitForPostgres(deadlineMs: number): Promise<void> {
  const started = Date.now()
  let isLogged = false
  while (true) {
    try {
      return await withSession(own, async () => undefined)
    } catch (error) {
      const cause = error instanceof Error ? error.cause : undefined
      // 28: a wrong password, 3D: no such database: waiting does not help
      if (/^(28|3D)/.test(sqlState(cause) ?? '') || Date.now() - started > deadlineMs) throw error
      if (!isLogged)
        say(`waiting up to ${deadlineMs / 1000} s for Postgres (${error instanceof Error ? error.message : error})`)
      isLogged = true
      await wait(500)
    }
  }
}

async function seed(): Promise<void> {
  const password = config.SEED_PASSWORD ?? randomBytes(9).toString('base64url')
  const postgres = createPostgres({
    url: config.DATABASE_URL,
    log,
    applicationName: 'seed',
    maxConnections: 1,
    timeoutMs: 10_000,
  })
  try {
    const accounts = await seedAccounts(postgres, password, flagsRole)
    for (const module of dataModules) await module.seed?.(postgres)
    say('log in as')
    for (const { email, role } of accounts) say(`  ${email}  (${role ?? 'no role'})`)
    say(config.SEED_PASSWORD ? '  with the password from SEED_PASSWORD' : `  with the password ${password}`)
  } finally {
    await postgres.stop()
  }
}
