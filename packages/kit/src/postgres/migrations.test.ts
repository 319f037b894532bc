import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { createTestDatabase, type TestDatabase } from '@escala/testing/test-database.ts'
import pg from 'pg'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
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
