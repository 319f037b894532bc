import { createTestDatabase, type TestDatabase, withClient } from '@escala/testing/test-database'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createLog } from '../log/log.ts'
import { kitMigrations, migrate } from './migrations.ts'

const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
let database: TestDatabase

beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  await migrate({ url: database.url, folders: [kitMigrations], log })
})
afterAll(() => database.drop())

const revision = `SELECT revision::float8 FROM changes WHERE table_name = 'flags'`

test('a role with rights on the flags alone can set them, and that counts', async () => {
  await withClient(database.url, async (client) => {
    const { rows: before } = await client.query(revision)
    const role = `only_flags_${process.pid}`
    await client.query(`CREATE ROLE ${role}; GRANT SELECT, INSERT ON flags TO ${role}; SET ROLE ${role}`)
    await client.query(`INSERT INTO flags VALUES ('one', 'true')`)
    await client.query(`RESET ROLE; DROP OWNED BY ${role}; DROP ROLE ${role}`)
    const { rows: after } = await client.query(revision)
    expect(after).toEqual([{ revision: before[0].revision + 1 }])
  })
})

test('a count that was lost goes on with the next change, at a number that it never had', async () => {
  await withClient(database.url, async (client) => {
    let known = (await client.query(revision)).rows[0].revision
    for (const name of ['two', 'three']) {
      await client.query('DELETE FROM changes')
      await client.query(`INSERT INTO flags VALUES ('${name}', 'true')`)
      const { rows } = await client.query(revision)
      expect(rows[0].revision).toBeGreaterThan(known)
      expect(Number.isSafeInteger(rows[0].revision)).toBe(true)
      known = rows[0].revision
    }
  })
})

test('a process that was found dead and registers again the way that 0.1.0 does is alive again', async () => {
  await withClient(database.url, async (client) => {
    const values = `('00000000-0000-7000-8000-000000000001', 'old', 'api', '0.1.0', '{}', '{}', '{}', 1000, 1, true,
      0, clock_timestamp(), clock_timestamp())`
    const register = `INSERT INTO replicas (incarnation, id, role, version, scopes, secret_fingerprints, schedules, ttl_ms,
        pool_size, admitted, clock_offset_ms, started_at, heartbeat_at) VALUES ${values}
      ON CONFLICT (incarnation) DO UPDATE SET admitted = excluded.admitted, heartbeat_at = excluded.heartbeat_at`
    await client.query(register)
    await client.query('UPDATE replicas SET found_dead = true')
    await client.query(register)
    expect((await client.query('SELECT found_dead FROM replicas')).rows).toEqual([{ found_dead: false }])
  })
})

test('no other role can count changes by a table of its own', async () => {
  await withClient(database.url, async (client) => {
    const role = `stranger_${process.pid}`
    await client.query(`CREATE ROLE ${role}; SET ROLE ${role}; CREATE TEMP TABLE flags (x int)`)
    const trigger = 'CREATE TRIGGER t AFTER INSERT ON flags FOR EACH STATEMENT EXECUTE FUNCTION public.count_change()'
    await expect(client.query(trigger)).rejects.toMatchObject({ code: '42501' })
    await client.query(`DROP TABLE pg_temp.flags; RESET ROLE; DROP ROLE ${role}`)
  })
})
