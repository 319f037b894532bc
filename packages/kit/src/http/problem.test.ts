import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createTestDatabase, type TestDatabase } from '@escala/testing/test-database'
import express from 'express'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createPostgres, type Postgres } from '../postgres/postgres.ts'
import { problemHandler } from './problem.ts'

// What a client reads when it is Postgres that does not take what the client sent.
const lines: { level: number; code?: string; err?: { code?: string } }[] = []
const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(JSON.parse(line)) })
let database: TestDatabase
let postgres: Postgres
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  postgres = createPostgres({ url: database.url, log, applicationName: 'test', maxConnections: 1, timeoutMs: 2000 })
})
afterAll(async () => {
  await postgres.stop()
  await database.drop()
})

async function answer(text: string, value: unknown) {
  const app = express()
  app.use((req, _res, next) => next(Object.assign(req, { log, id: 'an id' }) && undefined))
  app.get('/', async (_req, res) => void res.json((await postgres.query(text, [value])).rows))
  app.use(problemHandler)
  const server = app.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const response = await fetch(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  const body = (await response.json()) as { code: string }
  server.close()
  return { status: response.status, code: body.code }
}

test.each([
  ['a NUL in a text', 'SELECT $1::text', 'a\0b', '22021'],
  ['a date that is out of range', 'SELECT $1::timestamptz', '300000-01-01T00:00:00Z', '22008'],
  ['no UUID', 'SELECT $1::uuid', 'x', '22P02'],
  ['a number that is too large', 'SELECT $1::int', '3000000000', '22003'],
])('%s is a 400 and a warning, not a 500', async (_, text, value, state) => {
  lines.length = 0
  expect(await answer(text, value)).toEqual({ status: 400, code: 'E_VALIDATION' })
  expect(lines).toMatchObject([{ level: 40, code: 'E_VALIDATION', err: { code: state } }])
})

test('a mistake in the statement stays a 500', async () => {
  expect(await answer('SELECT $1::text FROM nowhere', 'x')).toEqual({ status: 500, code: 'E_INTERNAL' })
})

test('a value that cannot be sent at all is a 500', async () => {
  expect(await answer('SELECT $1::jsonb', { n: 1n })).toEqual({ status: 500, code: 'E_INTERNAL' })
})
