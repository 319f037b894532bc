import { randomBytes } from 'node:crypto'
import pg from 'pg'

export interface TestDatabase {
  url: string
  /** Drops it, with whatever is still connected. */
  drop(): Promise<void>
}

export interface TestDatabaseOptions {
  /** A database to copy, with its settings; it must have no open connections. */
  template?: string
}

/** A database of one's own on a server that others use too. `adminUrl` is a superuser's. */
export async function createTestDatabase(
  adminUrl: string,
  { template }: TestDatabaseOptions = {},
): Promise<TestDatabase> {
  const name = `test_${randomBytes(6).toString('hex')}`
  await withClient(adminUrl, async (client) => {
    await client.query(`CREATE DATABASE ${name}${template ? ` TEMPLATE ${template}` : ''}`)
    if (template) await copySettings(client, template, name)
  })
  const url = new URL(adminUrl)
  url.pathname = `/${name}`
  return {
    url: url.href,
    drop: () =>
      withClient(adminUrl, async (client) => void (await client.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`))),
  }
}

/** What `ALTER ROLE … IN DATABASE … SET` gave to the template is not in a copy of it. */
async function copySettings(client: pg.Client, from: string, to: string): Promise<void> {
  const { rows } = await client.query<{ role: string; setting: string }>(
    `SELECT r.rolname AS role, unnest(s.setconfig) AS setting FROM pg_db_role_setting s
     JOIN pg_database d ON d.oid = s.setdatabase JOIN pg_roles r ON r.oid = s.setrole WHERE d.datname = $1`,
    [from],
  )
  for (const { role, setting } of rows) {
    const [name = '', value = ''] = setting.split(/=(.*)/s)
    await client.query(
      `ALTER ROLE ${client.escapeIdentifier(role)} IN DATABASE ${to} SET ${client.escapeIdentifier(name)} = ${client.escapeLiteral(value)}`,
    )
  }
}

/** Runs `work` on one connection of its own. */
export async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}
