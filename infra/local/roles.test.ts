import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readConfig } from '@escala/kit/config/config'
import { findBinaries } from '@escala/servers/binaries'
import type { LocalServer } from '@escala/servers/local-server'
import { startPostgres } from '@escala/servers/postgres'
import { run } from '@escala/servers/processes'
import { createClient } from '@escala/testing/client'
import pg from 'pg'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { apiConfigSettings, compose } from '../../apps/api/src/compose.ts'
import { onLoopback } from '../../apps/api/src/test-replica.ts'
import { root } from './instance.ts'
import { createRoles, type Roles } from './roles.ts'

// The roles that `npm start` makes, on a server of its own: roles belong to a whole server.

let folder: string
let server: LocalServer
let roles: Roles
const passwords = { owner: `o@w'n er`, serving: 's/e?r' }

const migrate = (env: Record<string, string>) =>
  run(process.execPath, [join(root, 'apps/api/src/migrate.ts')], { env: { PATH: process.env.PATH, ...env } })

async function query(connectionString: string, text: string) {
  const client = new pg.Client({ connectionString })
  await client.connect()
  return await client.query(text).finally(() => client.end())
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'escala-roles-'))
  const binaries = await findBinaries(() => undefined)
  server = await startPostgres({
    binaries,
    dataDir: join(folder, 'postgres'),
    password: 'test',
    settings: { fsync: 'off' },
  })
  // As an earlier version left it: everything is the superuser's.
  expect(await migrate({ DATABASE_URL: server.url })).toMatchObject({ code: 0 })
  for (const _ of ['made', 'there already']) roles = await createRoles(server.url, passwords)
  const env = { DATABASE_URL: roles.servingUrl, MIGRATION_DATABASE_URL: roles.ownerUrl }
  expect(await migrate(env)).toMatchObject({ code: 0 })
})
afterAll(async () => {
  await server?.stop()
  await rm(folder, { recursive: true, force: true })
})

test('nothing that serves or migrates is a superuser, and nothing is left to one', async () => {
  for (const url of Object.values(roles)) {
    const { rows } = await query(
      url,
      'SELECT rolsuper OR rolcreaterole OR rolcreatedb AS can FROM pg_roles WHERE rolname = current_user',
    )
    expect(rows).toEqual([{ can: false }])
  }
  const { rows } = await query(
    server.url,
    `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND pg_get_userbyid(relowner) <> 'escala_owner'`,
  )
  expect(rows).toEqual([])
})

test('the role that serves changes rows, no tables, and not what was migrated', async () => {
  for (const text of [
    'CREATE TABLE mine (id int)',
    'ALTER TABLE users ADD COLUMN mine int',
    'DROP TABLE users',
    'TRUNCATE users',
    'DELETE FROM migrations',
  ]) {
    await expect(query(roles.servingUrl, text), text).rejects.toMatchObject({ code: '42501' })
  }
})

test('a replica serves with it', async () => {
  const env = {
    REPLICA_ID: 'roles',
    DATABASE_URL: roles.servingUrl,
    REDIS_URL: inject('redisUrl'),
    CACHE_REDIS_URL: inject('redisUrl'),
    ...onLoopback,
    REDIS_TIMEOUT_MS: '5000',
  }
  const api = await compose(readConfig(env, apiConfigSettings))
  await api.start()
  try {
    const client = createClient(`http://127.0.0.1:${api.port()}`)
    const { email, password } = await client.signUp()
    await client.logIn(email, password)
    expect((await client.get('/v1/session')).status).toBe(200)
  } finally {
    await api.stop()
  }
})
