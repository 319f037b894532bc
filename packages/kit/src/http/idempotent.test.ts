import express from 'express'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { z } from 'zod'
import { kitErrors } from '../errors/errors.ts'
import { createEffects, log } from '../idempotency/idempotency.contract.ts'
import { createPostgresIdempotency } from '../idempotency/postgres.ts'
import type { Postgres } from '../postgres/postgres.ts'
import { type MountOptions, mountRoutes } from './mount.ts'
import { openApi } from './openapi.ts'
import { problemHandler } from './problem.ts'
import { requestContext } from './request-context.ts'
import { type Route, route } from './route.ts'
import { serveApp } from './test-app.ts'

const input = z.strictObject({ name: z.string(), fails: z.boolean().optional() })
const named = z.strictObject({ name: z.string() })
const responses = { 201: { description: 'Made', schema: named } }

/** As a module writes them. */
const routes = [
  route({
    method: 'post',
    path: '/links',
    summary: 'Runs a transaction',
    access: 'user',
    body: input,
    idempotent: true,
    responses,
    async handle({ body, once }) {
      const made = await once(async (tx) => {
        await tx.query('INSERT INTO effects (name) VALUES ($1)', [body.name])
        if (body.fails) throw kitErrors.E_FORBIDDEN()
        return { status: 201, body: { name: body.name } }
      })
      return { ...made, headers: { Location: `/links/${made.body.name}` } }
    },
  }),
  route({
    method: 'put',
    path: '/links/:id/target',
    summary: 'Runs one statement',
    access: 'user',
    params: z.strictObject({ id: z.string() }),
    body: input,
    idempotent: 'optional',
    responses,
    async handle({ body, once }) {
      const made = await once.statement<{ name: string }>({
        name: 'test-insert',
        changes:
          'made AS (INSERT INTO effects (name) SELECT $1::text FROM unclaimed WHERE NOT $2::boolean RETURNING name)',
        response: `SELECT 201 AS status, json_build_object('name', name) AS body FROM made`,
        values: [body.name, body.fails ?? false],
      })
      if (made === undefined) throw kitErrors.E_FORBIDDEN()
      return made
    },
  }),
  route({
    method: 'post',
    path: '/careless',
    summary: 'Forgets its key',
    access: 'user',
    idempotent: true,
    responses,
    handle: async () => ({ status: 201, body: { name: 'x' } }),
  }),
  route({
    method: 'post',
    path: '/greedy',
    summary: 'Runs two effects under one key',
    access: 'user',
    idempotent: true,
    responses,
    async handle({ once }) {
      await once(async () => ({ status: 201, body: { name: 'x' } }))
      return await once(async () => ({ status: 201, body: { name: 'y' } }))
    },
  }),
]

const ana = 'ana'
let database: Awaited<ReturnType<typeof createEffects>>
let postgres: Postgres
let base: string
let close: () => void
const options = (): MountOptions => ({
  roles: [],
  hasRole: async () => true,
  once: { idempotency: createPostgresIdempotency({ postgres }), postgres },
})

beforeAll(async () => {
  database = await createEffects(inject('postgresUrl'))
  postgres = database.connect()
  const app = express()
  app.use(requestContext({ log, replicaId: 'r1', exposeReplica: false, deadlineMs: 20_000 }))
  app.use((req, _res, next) => {
    Object.assign(req, { session: { userId: req.get('test-user'), id: 'test' } })
    next()
  })
  mountRoutes(app, routes, options())
  app.use(problemHandler)
  ;({ url: base, close } = await serveApp(app))
})
afterAll(async () => {
  close()
  await postgres.stop()
  await database.drop()
})

const effects = async (name: string) => (await postgres.query('SELECT FROM effects WHERE name = $1', [name])).rowCount

async function send(method: string, path: string, body: object, key?: string, user = ana) {
  const headers = {
    'Content-Type': 'application/json',
    'test-user': user,
    ...(key !== undefined && { 'Idempotency-Key': key }),
  }
  const response = await fetch(base + path, { method, headers, body: JSON.stringify(body) })
  const read = (name: string) => response.headers.get(name) ?? undefined
  return {
    status: response.status,
    body: (await response.json()) as Record<string, unknown>,
    location: read('location'),
    replayed: read('idempotency-replayed'),
    retryAfter: read('retry-after'),
  }
}

test('a repeated request gets the first response, its headers among them, and has no second effect', async () => {
  const first = await send('POST', '/links', { name: 'one' }, 'k1')
  expect(first).toMatchObject({ status: 201, body: { name: 'one' }, location: '/links/one', replayed: undefined })
  expect(await send('POST', '/links', { name: 'one' }, '"k1"')).toEqual({ ...first, replayed: 'true' })
  expect(await effects('one')).toBe(1)
})

test('a key is for one method, path and body of one user', async () => {
  await send('PUT', '/links/1/target', { name: 'a' }, 'k2')
  const mismatch = { status: 422, body: { code: 'E_IDEMPOTENCY_MISMATCH' } }
  expect(await send('PUT', '/links/1/target', { name: 'b' }, 'k2')).toMatchObject(mismatch)
  expect(await send('PUT', '/links/2/target', { name: 'a' }, 'k2')).toMatchObject(mismatch)
  expect(await send('POST', '/links', { name: 'a' }, 'k2')).toMatchObject(mismatch)
  expect(await send('PUT', '/links/1/target', { name: 'a' }, 'k2')).toMatchObject({ status: 201, replayed: 'true' })
  const other = await send('PUT', '/links/1/target', { name: 'a' }, 'k2', 'bob')
  expect(other).toMatchObject({ status: 201, replayed: undefined })
  expect(await effects('a')).toBe(2)
})

test('a request without a key is refused where one is required, and runs each time where it is not', async () => {
  expect(await send('POST', '/links', { name: 'none' })).toMatchObject({
    status: 400,
    body: { code: 'E_IDEMPOTENCY_KEY_MISSING' },
  })
  expect(await effects('none')).toBe(0)
  for (const _ of [1, 2]) {
    expect(await send('PUT', '/links/1/target', { name: 'each' })).toMatchObject({ status: 201, replayed: undefined })
  }
  expect(await effects('each')).toBe(2)
  const long = 'k'.repeat(256)
  for (const [method, path] of [
    ['POST', '/links'],
    ['PUT', '/links/1/target'],
  ] as const) {
    expect(await send(method, path, { name: 'none' }, long)).toMatchObject({
      status: 400,
      body: { code: 'E_VALIDATION', fields: { 'Idempotency-Key': expect.any(String) } },
    })
  }
})

test.each(['POST /links', 'PUT /links/1/target'])(
  '%s: a refusal leaves nothing behind, and the key is free',
  async (where) => {
    const [method, path] = where.split(' ') as [string, string]
    const name = `refused-${method}`
    expect(await send(method, path, { name, fails: true }, name)).toMatchObject({ status: 403 })
    expect(await effects(name)).toBe(0)
    expect(await send(method, path, { name }, name)).toMatchObject({ status: 201, replayed: undefined })
  },
)

test('while a copy is under way, another one is refused at once', async () => {
  const held = await send('POST', '/links', { name: 'held' }, 'k3')
  expect(held.status).toBe(201)
  await postgres.transaction(async (tx) => {
    await tx.query(`SELECT * FROM claim_idempotency_key($1, $2, 60000)`, [ana, 'k4'])
    expect(await send('POST', '/links', { name: 'held' }, 'k4')).toMatchObject({
      status: 409,
      body: { code: 'E_IDEMPOTENCY_IN_PROGRESS' },
      retryAfter: '1',
    })
  })
})

test('a handler that has passed nothing to its key, or two effects, is a failure and no success', async () => {
  expect(await send('POST', '/careless', {}, 'k5')).toMatchObject({ status: 500, body: { code: 'E_INTERNAL' } })
  expect(await send('POST', '/greedy', {}, 'k6')).toMatchObject({ status: 500, body: { code: 'E_INTERNAL' } })
})

test('a route that cannot keep keys is refused when it is mounted', () => {
  const mount = (given: Partial<Route>, once = options().once) =>
    mountRoutes(express.Router(), [{ ...routes[0], ...given } as Route], { ...options(), once })
  const refused = (why: string) => expect.objectContaining({ code: 'E_MODULE', detail: expect.stringContaining(why) })
  expect(() => mount({ access: 'public' })).toThrow(refused('POST /links is idempotent, which needs a user'))
  expect(() => mount({ method: 'get' })).toThrow(refused('needs no key'))
  expect(() => mountRoutes(express.Router(), routes, { ...options(), once: undefined })).toThrow(
    refused('keeps no keys'),
  )
})

test('the documentation names the header, the codes and the mark of a replay', () => {
  const { paths } = openApi(routes, { title: 'x', version: '1', sessionCookie: 'sid' }) as {
    paths: Record<string, Record<string, { parameters: object[]; responses: Record<string, { description: string }> }>>
  }
  const [required, optional] = [paths['/links']?.post, paths['/links/{id}/target']?.put]
  const key = { in: 'header', name: 'Idempotency-Key', schema: { type: 'string', minLength: 1, maxLength: 255 } }
  expect(required?.parameters).toContainEqual(expect.objectContaining({ ...key, required: true }))
  expect(optional?.parameters).toContainEqual(expect.objectContaining({ ...key, required: false }))
  expect(required?.responses[201]).toMatchObject({ headers: { 'Idempotency-Replayed': {} } })
  expect(required?.responses.default?.description).toMatch(/KEY_MISSING.*IN_PROGRESS.*MISMATCH/)
  expect(optional?.responses.default?.description).not.toContain('KEY_MISSING')
})
