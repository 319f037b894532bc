import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { createTestDatabase, type TestDatabase, withClient } from '@escala/testing/test-database'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, inject, test } from 'vitest'
import { createLog } from '../log/log.ts'
import { kitMigrations, migrate, missingMigrations } from './migrations.ts'
import { createPostgres } from './postgres.ts'

const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
let database: TestDatabase
let folder: string

beforeEach(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  folder = await mkdtemp(join(tmpdir(), 'migrations-'))
})

afterEach(async () => {
  await database.drop()
  await rm(folder, { recursive: true })
})

async function write(file: string, sql: string) {
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, file), sql)
}

const run = (report?: (line: string) => void, waitMs?: number) =>
  migrate({ url: database.url, folders: [{ name: 'demo', url: pathToFileURL(folder) }], log, report, waitMs })

async function query(text: string) {
  const client = new pg.Client({ connectionString: database.url })
  await client.connect()
  const { rows } = await client.query(text).finally(() => client.end())
  return rows
}

test('applies what is missing, in the order of the numbers, and nothing twice', async () => {
  await write('0001_things.sql', 'CREATE TABLE things (id int)')
  await write('0002_more.sql', 'ALTER TABLE things ADD COLUMN name text')
  expect(await run()).toEqual({ applied: ['demo/0001_things', 'demo/0002_more'] })
  await write('0003_last.sql', 'INSERT INTO things VALUES (1)')
  expect(await run()).toEqual({ applied: ['demo/0003_last'] })
  expect(await run()).toEqual({ applied: [] })
})

test('a file that came from another folder keeps its name: a database that has it does not get it again', async () => {
  await write('0001_things.sql', 'CREATE TABLE things (id int)')
  await run()
  const url = pathToFileURL(folder)
  const moved = { name: 'elsewhere', url, formerly: { '0001_things': 'demo/0001_things' } }
  await write('0002_more.sql', 'ALTER TABLE things ADD COLUMN name text')
  expect(await migrate({ url: database.url, folders: [moved], log })).toEqual({ applied: ['elsewhere/0002_more'] })
})

test('three at once on an empty database: each file once, all succeed', async () => {
  await write('0001_slow.sql', 'CREATE TABLE counter (n int); SELECT pg_sleep(0.2); INSERT INTO counter VALUES (1)')
  const lines: string[] = []
  const results = await Promise.all([1, 2, 3].map(() => run((line) => lines.push(line))))
  expect(results.flatMap(({ applied }) => applied)).toEqual(['demo/0001_slow'])
  expect(await query('SELECT count(*)::int AS n FROM counter')).toEqual([{ n: 1 }])
  expect(lines).toContain('waiting for another migration to finish')
})

test('gives up waiting with a clear error', async () => {
  await write('0001_slow.sql', 'SELECT pg_sleep(0.7)')
  const first = run()
  const sleeping = `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'`
  await expect.poll(() => query(sleeping)).toHaveLength(1)
  await expect(run(undefined, 0)).rejects.toMatchObject({ code: 'E_MIGRATION_FAILED' })
  await first
})

test('a failing file leaves nothing behind, and says where', async () => {
  await write('0001_fine.sql', 'CREATE TABLE fine (id int)')
  await write('0002_broken.sql', 'CREATE TABLE half (id int);\n\nSELECT nothing\nFROM half;\n')
  await expect(run()).rejects.toThrow(
    'demo/0002_broken.sql, line 3: column "nothing" does not exist (nothing of this file was applied)',
  )
  expect(
    await query(`SELECT to_regclass('fine') IS NOT NULL AS fine, to_regclass('half') IS NOT NULL AS half`),
  ).toEqual([{ fine: true, half: false }])
  await write('0002_broken.sql', 'CREATE TABLE half (id int)')
  expect(await run()).toEqual({ applied: ['demo/0002_broken'] })
})

test('refuses a file that was changed after it had been applied', async () => {
  await write('0001_things.sql', 'CREATE TABLE things (id int)')
  await run()
  await write('0001_things.sql', 'CREATE TABLE things (id bigint)')
  await expect(run()).rejects.toMatchObject({ code: 'E_MIGRATION_FAILED', message: /^demo\/0001_things: .*changed/ })
})

test('the same number twice, or no number, is refused before anything runs', async () => {
  await write('0001_a.sql', 'CREATE TABLE a (id int)')
  await write('0001_b.sql', 'CREATE TABLE b (id int)')
  await expect(run()).rejects.toThrow('another migration with the number 0001')
  expect(await query(`SELECT to_regclass('a') IS NULL AS none`)).toEqual([{ none: true }])
})

test('a file marked `no transaction` can build an index while others write', async () => {
  await write('0001_things.sql', 'CREATE TABLE things (id int)')
  await write(
    '0002_index.sql',
    '-- no transaction\nDROP INDEX CONCURRENTLY IF EXISTS things_id;\nCREATE INDEX CONCURRENTLY things_id ON things (id);\n',
  )
  expect((await Promise.all([run(), run()])).flatMap(({ applied }) => applied)).toHaveLength(2)
  await write('0003_index.sql', '-- no transaction\nCREATE INDEX CONCURRENTLY i ON things (id);\nSELECT wrong;\n')
  await expect(run()).rejects.toThrow(
    'demo/0003_index.sql, line 3: column "wrong" does not exist (statements before it',
  )
})

describe('an index that is built while others write', () => {
  const invalid = () => query(`SELECT indexrelid::regclass::text AS name FROM pg_index WHERE NOT indisvalid`)
  const build = (sql: string) => write('0002_index.sql', `-- no transaction\n${sql}\n`)
  beforeEach(() => write('0001_things.sql', 'CREATE TABLE things (id int)'))

  test.each([
    ['IF NOT EXISTS', 'CREATE INDEX CONCURRENTLY IF NOT EXISTS things_id ON things (id);'],
    ['without it, with a schema', 'CREATE UNIQUE INDEX CONCURRENTLY "things_id" -- why\n ON public.things (id);'],
  ])('is repaired when an earlier try left it invalid: %s', async (_, sql) => {
    await run()
    await query('INSERT INTO things VALUES (1), (1)')
    const broken = query('CREATE UNIQUE INDEX CONCURRENTLY things_id ON things (id)')
    await expect(broken).rejects.toMatchObject({ code: '23505' })
    expect(await invalid()).toEqual([{ name: 'things_id' }])
    await query('DELETE FROM things')
    await build(sql)
    expect(await run()).toEqual({ applied: ['demo/0002_index'] })
    expect(await query(`SELECT indisvalid FROM pg_index WHERE indexrelid = 'things_id'::regclass`)).toEqual([
      { indisvalid: true },
    ])
  })

  test('is not recorded when it fails, leaves nothing that costs writes, and says why', async () => {
    await run()
    await query('INSERT INTO things VALUES (1), (1)')
    await build('CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS things_id ON things (id);')
    await expect(run()).rejects.toThrow('demo/0002_index.sql: could not create unique index "things_id"')
    expect(await invalid()).toEqual([])
    await query('DELETE FROM things')
    expect(await run()).toEqual({ applied: ['demo/0002_index'] })
  })

  test('waits for an older transaction, longer than a lock timeout, and no other transaction waits for it', async () => {
    await run()
    await withClient(database.url, async (other) => {
      await other.query('BEGIN; INSERT INTO things VALUES (1)')
      await build('CREATE INDEX CONCURRENTLY things_id ON things (id);')
      const building = run()
      await expect.poll(invalid).toHaveLength(1)
      const id = `SELECT 'things_id'::regclass::oid AS id`
      const [begun] = await query(id)
      await wait(800) // longer than it waits for a table
      await query(`SET lock_timeout = '100ms'; INSERT INTO things VALUES (2); SELECT * FROM things`)
      await other.query('COMMIT')
      expect(await building).toEqual({ applied: ['demo/0002_index'] })
      expect(await invalid()).toEqual([])
      expect(await query(id)).toEqual([begun]) // it was not begun again
    })
  })

  test('gives up with the names of those who are in the way', async () => {
    await run()
    await withClient(database.url, async (other) => {
      await other.query(`SET application_name = 'forgotten'; BEGIN; INSERT INTO things VALUES (1)`)
      await build('CREATE INDEX CONCURRENTLY IF NOT EXISTS things_id ON things (id);')
      await expect(run(undefined, 300)).rejects.toThrow(
        /lock timeout; transactions that are open: forgotten \(pid \d+\)/,
      )
    })
    // The transaction that blocks it also blocks its removal: the next attempt removes it.
    expect(await run()).toEqual({ applied: ['demo/0002_index'] })
    expect(await invalid()).toEqual([])
  })

  test('needs a name', async () => {
    await build('CREATE INDEX CONCURRENTLY ON things (id);')
    await expect(run()).rejects.toThrow('demo/0002_index.sql: an index that is built CONCURRENTLY needs a name')
  })
})

test('while a table is being read for long, a migration of it fails no other statement, and is applied afterwards', async () => {
  await write('0001_things.sql', 'CREATE TABLE things (id int); INSERT INTO things VALUES (1)')
  await run()
  const postgres = createPostgres({ url: database.url, log, applicationName: 't', maxConnections: 4, timeoutMs: 2000 })
  let [reading, failed, slowestMs] = [true, 0, 0]
  const read = async () => {
    while (reading) {
      const startedAt = performance.now()
      await postgres.query('SELECT * FROM things').catch(() => failed++)
      slowestMs = Math.max(slowestMs, performance.now() - startedAt)
      await wait(10)
    }
  }
  await withClient(database.url, async (holder) => {
    await holder.query('SET idle_in_transaction_session_timeout = 0; BEGIN; SELECT * FROM things')
    const readers = [read(), read(), read(), read()]
    await write('0002_more.sql', 'ALTER TABLE things ADD COLUMN more text')
    const lines: string[] = []
    const altering = run((line) => lines.push(line))
    await wait(2500) // longer than a request may wait for a lock: all of them would fail
    expect(lines).toEqual(['demo/0002_more: waiting for a table that is in use'])
    await holder.query('COMMIT')
    expect(await altering).toEqual({ applied: ['demo/0002_more'] })
    reading = false
    await Promise.all(readers)
  })
  await postgres.stop()
  expect({ failed, slow: slowestMs > 1500 }).toEqual({ failed: 0, slow: false })
})

test('later connections have the limits of requests', async () => {
  await write('0001_things.sql', 'CREATE TABLE things (id int)')
  await run()
  const [row] =
    await query(`SELECT current_setting('statement_timeout') AS statement, current_setting('lock_timeout') AS lock,
    current_setting('idle_in_transaction_session_timeout') AS idle`)
  expect(row).toEqual({ statement: '1800ms', lock: '1500ms', idle: '1500ms' })
})

test('names what a replica still waits for', async () => {
  const postgres = createPostgres({ url: database.url, log, applicationName: 't', maxConnections: 1, timeoutMs: 2000 })
  await write('0001_things.sql', 'CREATE TABLE things (id int)')
  const folders = [{ name: 'demo', url: pathToFileURL(folder) }]
  expect(await missingMigrations(postgres, folders)).toEqual(['demo/0001_things'])
  await run()
  expect(await missingMigrations(postgres, folders)).toEqual([])
  await postgres.stop()
})

test("the kit's own migrations apply", async () => {
  await migrate({ url: database.url, folders: [kitMigrations], log })
  expect(await query(`SELECT to_regclass('replicas') IS NOT NULL AS replicas`)).toEqual([{ replicas: true }])
})
