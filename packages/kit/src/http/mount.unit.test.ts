import { Writable } from 'node:stream'
import { openRaw } from '@escala/testing/raw'
import express from 'express'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { AppError } from '../errors/app-error.ts'
import { kitErrors } from '../errors/errors.ts'
import { createLog } from '../log/log.ts'
import type { RequestSeen } from '../metrics/metrics.ts'
import { mountRoutes } from './mount.ts'
import { openApi } from './openapi.ts'
import { notFound, problemHandler } from './problem.ts'
import { requestContext } from './request-context.ts'
import { route } from './route.ts'
import { serveApp } from './test-app.ts'

const lines: Record<string, unknown>[] = []
const destination = new Writable({
  write(chunk, _encoding, done) {
    lines.push(JSON.parse(String(chunk)))
    done()
  },
})

const routes = [
  route({
    method: 'post',
    path: '/things/:id',
    summary: 'Make one',
    access: 'public',
    params: z.strictObject({ id: z.uuid() }),
    body: z.strictObject({ name: z.string().min(1), size: z.int().positive() }),
    responses: { 201: { description: 'Made', schema: z.strictObject({ id: z.string(), name: z.string() }) } },
    handle: async ({ params, body }) => ({ status: 201, body: { id: params.id, name: body.name } }),
  }),
  route({
    method: 'get',
    path: '/leaky',
    summary: 'Returns more than it declares',
    access: 'public',
    responses: { 200: { description: 'x', schema: z.strictObject({ id: z.string() }) } },
    handle: async () => ({ status: 200, body: { id: '1', password: 'x' } }),
  }),
  route({
    method: 'get',
    path: '/stored',
    summary: 'Returns what another version made',
    access: 'public',
    responses: { 200: { description: 'x', schema: z.strictObject({ id: z.string() }) } },
    handle: async () => ({ status: 200, stored: true, body: { id: '1', name: 'x' } }),
  }),
  route({
    method: 'get',
    path: '/edited',
    summary: 'For those who have the role',
    access: { role: 'editor' },
    responses: {},
    handle: async () => ({ status: 204 }),
  }),
  route({
    method: 'get',
    path: '/mine',
    summary: 'Own',
    access: 'user',
    responses: {},
    handle: async () => ({ status: 204 }),
  }),
  route({
    method: 'post',
    path: '/wide',
    summary: 'Takes a list of numbers',
    access: 'public',
    body: z.strictObject({ list: z.array(z.number()).optional() }),
    responses: {},
    handle: async () => ({ status: 204 }),
  }),
  route({
    method: 'get',
    path: '/wide',
    summary: 'Takes no query',
    access: 'public',
    query: z.strictObject({}),
    responses: {},
    handle: async () => ({ status: 204 }),
  }),
  route({
    method: 'get',
    path: '/throws',
    summary: 'Throws',
    access: 'public',
    responses: {},
    handle: ({ req }) => Promise.reject({ ...thrown, overload }[String(req.query.what)]),
  }),
  route({
    method: 'get',
    path: '/fails-late',
    summary: 'Answers, and fails afterwards',
    access: 'public',
    responses: {},
    async handle({ res }) {
      res.end(Buffer.alloc(whole))
      throw new Error('too late')
    },
  }),
  route({
    method: 'get',
    path: '/named/:id',
    summary: 'Says what it was asked for',
    access: 'public',
    responses: {},
    handle: async ({ req }) => ({ status: 200, body: { params: req.params } }),
  }),
  ...(['get', 'post', 'put'] as const).map((method) =>
    route({
      method,
      path: '/open',
      summary: 'Is for everyone',
      access: 'public',
      ignoresSession: method === 'post',
      responses: {},
      handle: async () => ({ status: 204 }),
    }),
  ),
  route({
    method: 'get',
    path: '/slow',
    summary: 'Never answers',
    access: 'public',
    responses: {},
    handle({ signal }) {
      onSlow?.()
      return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    },
  }),
]

let onSlow: (() => void) | undefined
const seen: RequestSeen[] = []
const whole = 20_000_000 // more than the system buffers

const overload = kitErrors.E_OVERLOADED({ reason: 'work of a test' })
const thrown: Record<string, unknown> = {
  'a string': 'x',
  'a number': 7,
  'an object with a getter that throws': {
    get status() {
      throw new Error('from the getter')
    },
  },
  'a proxy that throws': new Proxy(
    {},
    {
      get: () => {
        throw new Error('from the proxy')
      },
    },
  ),
  'fields that are no JSON': new AppError('E_INTERNAL', { status: 500, title: 'x' }, { fields: { a: 1n as never } }),
  'a client error': Object.assign(new Error('x'), { status: 416 }),
}

let base: string
let close: () => void

beforeAll(async () => {
  const app = express()
  app.enable('strict routing')
  app.set('trust proxy', 'loopback')
  const log = createLog({ service: 'test', replicaId: 'r1', version: '1', destination })
  app.use(
    requestContext({ log, replicaId: 'r1', exposeReplica: true, deadlineMs: 2000, onRequest: (it) => seen.push(it) }),
  )
  app.use((req, _res, next) => {
    if (req.headers.cookie === 'unreadable') req.sessionUnavailable = true
    const userId = /^user=(.*)/.exec(req.headers.cookie ?? '')?.[1]
    if (userId) Object.assign(req, { session: { userId, id: 'test' } })
    next()
  })
  mountRoutes(app, routes, {
    roles: ['editor'],
    hasRole: async (userId, role) => userId === role,
    maxBodyBytes: 200_000,
  })
  app.use(notFound)
  app.use(problemHandler)
  ;({ url: base, close } = await serveApp(app))
})
afterAll(() => close())

const id = '0199a3f0-7c1e-7000-8000-000000000001'

async function send(method: string, path: string, body?: string, headers: Record<string, string> = {}) {
  const answer = await fetch(base + path, {
    method,
    body,
    headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
  })
  const text = await answer.text()
  return { status: answer.status, headers: answer.headers, body: text ? JSON.parse(text) : undefined }
}

test('a client that leaves before the response is counted and logged as 499, and is no error', async () => {
  const connection = openRaw(Number(new URL(base).port))
  connection.write('GET /slow HTTP/1.1\r\nHost: x\r\nX-Request-Id: left-early\r\n\r\n')
  await new Promise<void>((resolve) => {
    onSlow = resolve
  })
  connection.socket.destroy()
  await expect.poll(() => seen.find(({ route }) => route === '/slow')).toMatchObject({ status: 499 })
  const told = lines.filter(({ requestId }) => requestId === 'left-early')
  expect(told).toMatchObject([{ msg: 'request cut off', status: 499 }])
})

test('the log line of a refused request says why, and the client does not read the reason', async () => {
  const { status, body, headers } = await send('GET', '/throws?what=overload')
  expect(JSON.stringify({ status, body })).not.toContain('work of a test')
  await expect
    .poll(() => lines.filter(({ requestId }) => requestId === headers.get('x-request-id')))
    .toMatchObject([{ msg: 'request', status: 503, code: 'E_OVERLOADED', reason: 'work of a test' }])
  expect(seen.at(-1)).toMatchObject({ status: 503, overloaded: 'work of a test' })
})

test('a valid request is handled', async () => {
  const { status, body } = await send('POST', `/things/${id}`, '{"name":"a","size":1}')
  expect({ status, body }).toEqual({ status: 201, body: { id, name: 'a' } })
})

test.each([
  ['a missing field', `/things/${id}`, '{"name":"a"}', ['size']],
  ['an unknown field', `/things/${id}`, '{"name":"a","size":1,"role":"admin"}', ['role']],
  ['a wrong path', '/things/7', '{"name":"a","size":1}', ['id']],
])('%s is named', async (_what, path, payload, fields) => {
  const { status, body, headers } = await send('POST', path, payload)
  expect(status).toBe(400)
  expect(headers.get('content-type')).toContain('application/problem+json')
  expect(body).toMatchObject({ code: 'E_VALIDATION', status: 400, requestId: headers.get('x-request-id') })
  expect(Object.keys(body.fields)).toEqual(fields)
})

test.each([
  ['not JSON', '{', {}, 400, 'E_MALFORMED_BODY'],
  ['another type', 'a=b', { 'content-type': 'application/x-www-form-urlencoded' }, 415, 'E_UNSUPPORTED_MEDIA_TYPE'],
  ['too large', JSON.stringify({ name: 'x'.repeat(200_000), size: 1 }), {}, 413, 'E_BODY_TOO_LARGE'],
])('a body that is %s has its code', async (_what, payload, headers, status, code) => {
  const answer = await send('POST', `/things/${id}`, payload, headers)
  expect({ status: answer.status, code: answer.body.code }).toEqual({ status, code })
})

test.each([
  ['7,500 unknown keys', Object.fromEntries(Array.from({ length: 7500 }, (_, i) => [`k${i}`, 1]))],
  [
    'keys that are long, and long as JSON',
    Object.fromEntries(Array.from({ length: 90 }, (_, i) => [i + '\u0001'.repeat(300), 1])),
  ],
  ['10,000 wrong values', { list: Array(10_000).fill('x') }],
])('a response about %s is short', async (_what, payload) => {
  const answer = await fetch(`${base}/wide`, {
    method: 'POST',
    body: JSON.stringify(payload),
    headers: { 'content-type': 'application/json' },
  })
  const text = await answer.text()
  expect(answer.status).toBe(400)
  expect(text.length).toBeLessThan(16_000)
  const { fields, detail } = JSON.parse(text)
  expect(Object.keys(fields)).toHaveLength(20)
  expect(detail).toMatch(/^\d+ fields are wrong; 20 of them are listed$/)
})

test('a response about 1,000 unknown keys in the query is short', async () => {
  const query = Array.from({ length: 1000 }, (_, i) => `k${i}=1`).join('&')
  const answer = await fetch(`${base}/wide?${query}`)
  expect(answer.status).toBe(400)
  expect((await answer.text()).length).toBeLessThan(16_000)
})

test.each(Object.keys(thrown))('the error handler bears it when %s is thrown', async (what) => {
  const { status, body } = await send('GET', `/throws?what=${what}`)
  expect([status, body.code]).toEqual([
    what === 'a client error' ? 400 : 500,
    what === 'a client error' ? 'E_MALFORMED_REQUEST' : 'E_INTERNAL',
  ])
})

test('an answer that is not what the route says is a bug, and does not leave', async () => {
  const { status, body } = await send('GET', '/leaky')
  expect({ status, code: body.code }).toEqual({ status: 500, code: 'E_INTERNAL' })
  expect(JSON.stringify(body)).not.toContain('password')
})

test('what another version of the code made and stored is sent as it is', async () => {
  expect(await send('GET', '/stored')).toMatchObject({ status: 200, body: { id: '1', name: 'x' } })
})

test('who is not logged in, what is not there, and another method', async () => {
  expect((await send('GET', '/mine')).body.code).toBe('E_NOT_LOGGED_IN')
  expect((await send('GET', '/nowhere')).body.code).toBe('E_NOT_FOUND')
  expect((await send('POST', '/things/%ff')).body.code).toBe('E_MALFORMED_REQUEST')
  const { status, headers } = await send('DELETE', '/mine')
  expect([status, headers.get('allow')]).toEqual([405, 'GET'])
})

test('an id has one form, whatever the letter case it came in', async () => {
  expect((await send('POST', `/things/${id.toUpperCase()}`, '{"name":"a","size":1}')).body.id).toBe(id)
  expect((await send('GET', `/named/${id.toUpperCase()}`)).body.params).toEqual({ id })
})

test.each([
  [`/named/${id.toUpperCase()}/?x=1`, `/named/${id}`],
  ['/named/a%2fb%3F/', '/named/a%2Fb%3F'],
  ['/named/%2f%2fexample.com/', '/named/%2F%2Fexample.com'],
])('%s is redirected to %s', async (path, location) => {
  const { status, headers } = await fetch(base + path, { redirect: 'manual' })
  expect([status, headers.get('location')]).toEqual([308, location])
})

test('a long path with a trailing slash is not there', async () => {
  expect((await send('GET', `/named/${'x'.repeat(1000)}/`)).status).toBe(404)
})

test('a request that takes too long is answered, and its work aborted', async () => {
  const { status, body, headers } = await send('GET', '/slow')
  expect({ status, code: body.code }).toEqual({ status: 503, code: 'E_TIMEOUT' })
  expect(headers.get('retry-after')).toBe('1')
})

test('a response that is whole is sent whole, whatever fails afterwards', async () => {
  const answer = await fetch(`${base}/fails-late`)
  expect((await answer.arrayBuffer()).byteLength).toBe(whole)
})

test('the connection of a request that took too long is kept for the next one', async () => {
  const connection = openRaw(Number(new URL(base).port))
  for (const path of ['/slow', '/nowhere', '/slow', '/nowhere']) {
    connection.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`)
    await connection.next(path === '/slow' ? /HTTP\/1\.1 503 [\s\S]*\}/ : /HTTP\/1\.1 404 [\s\S]*\}/)
  }
  connection.socket.destroy()
})

test('the proxy’s request id is taken if it is well-formed, and is on every line', async () => {
  const { headers } = await send('GET', '/nowhere', undefined, { 'x-request-id': 'abcdef0123456789' })
  expect(headers.get('x-request-id')).toBe('abcdef0123456789')
  expect(lines.at(-1)).toMatchObject({ requestId: 'abcdef0123456789', status: 404, msg: 'request' })
  for (const bad of ['short', 'x'.repeat(65), 'with space and more']) {
    expect((await send('GET', '/nowhere', undefined, { 'x-request-id': bad })).headers.get('x-request-id')).not.toBe(
      bad,
    )
  }
})

test('the description is made of the same schemas', () => {
  const description = JSON.parse(
    JSON.stringify(openApi(routes, { title: 'T', version: '1', sessionCookie: '__Host-sid' })),
  )
  const operation = description.paths['/things/{id}'].post
  expect(operation.requestBody.content['application/json'].schema).toMatchObject({
    required: ['name', 'size'],
    additionalProperties: false,
  })
  expect(operation.parameters).toMatchObject([{ in: 'path', name: 'id', required: true }])
  expect(description.paths['/mine'].get.security).toEqual([{ session: [] }])
  expect(description.components.securitySchemes.session).toMatchObject({ in: 'cookie', name: '__Host-sid' })
})

test('a session that cannot be read belongs to no user: a route that writes is 503, unless it does not ask for the user', async () => {
  const headers = { cookie: 'unreadable' }
  const ask = async (method: string, path: string) => (await fetch(base + path, { method, headers })).status
  expect(await ask('GET', '/open')).toBe(204)
  expect(await ask('HEAD', '/open')).toBe(204)
  expect(await ask('POST', '/open')).toBe(204)
  expect(await ask('PUT', '/open')).toBe(503)
  expect(await ask('GET', '/mine')).toBe(503)
  expect(await ask('POST', '/mine')).toBe(405)
})

test('a role opens the routes that ask for it, and a route that asks for one that no module declares is refused', async () => {
  const as = (cookie: string) => send('GET', '/edited', undefined, { cookie })
  expect(await as('')).toMatchObject({ status: 401, body: { code: 'E_NOT_LOGGED_IN' } })
  expect(await as('user=reader')).toMatchObject({ status: 403, body: { code: 'E_FORBIDDEN' } })
  expect((await as('user=editor')).status).toBe(204)
  expect(() => mountRoutes(express.Router(), routes, { roles: ['author'], hasRole: async () => true })).toThrow(
    expect.objectContaining({
      code: 'E_MODULE',
      message: expect.stringContaining('GET /edited asks for the role editor'),
    }),
  )
})
