import { Writable } from 'node:stream'
import { kitErrors } from '@escala/kit/errors/errors'
import { createLargeHeadAnswer } from '@escala/kit/http/client-error'
import { route } from '@escala/kit/http/route'
import type { ModuleMiddleware, ModuleRouter } from '@escala/kit/http/routers'
import { createServerClasses } from '@escala/kit/http/server-classes'
import { createHttpServer } from '@escala/kit/lifecycle/http-server'
import { createLog } from '@escala/kit/log/log'
import { createMetrics } from '@escala/kit/metrics/metrics'
import { createMemoryRateLimits } from '@escala/kit/rate-limits/memory'
import { sessionUser } from '@escala/kit/sessions/express-session'
import express, { type Request, type RequestHandler } from 'express'
import { afterEach, expect, test } from 'vitest'
import { createApp } from './app.ts'

const lines: Record<string, unknown>[] = []
const destination = new Writable({
  write(chunk, _encoding, done) {
    lines.push(JSON.parse(String(chunk)))
    done()
  },
})
const log = createLog({ service: 'test', replicaId: 'test', version: '0', destination })
const stops: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
  lines.length = 0
})

interface Given {
  middleware?: ModuleMiddleware[]
  routers?: ModuleRouter[]
  deadlineMs?: number
  limit?: number
}

/** The application as every request passes it, with a session that a header names. */
async function start({ middleware, routers, deadlineMs = 20_000, limit }: Given) {
  const metrics = createMetrics({ service: 'api', replica: 'test', version: '0' })
  const classes = createServerClasses(createLargeHeadAnswer(log))
  const app = createApp({
    classes,
    log,
    replicaId: 'test',
    exposeReplica: false,
    deadlineMs,
    onRequest: metrics.request,
    trustProxy: 1,
    version: '0',
    appName: 'escala',
    problemBaseUrl: 'https://example.com/errors',
    sessionCookie: 'sid',
    shed: (_req, _res, next) => next(),
    cors: undefined,
    originCheck: (_req, _res, next) => next(),
    sessionAndLimits(req, _res, next) {
      Object.assign(req, { session: { userId: req.get('test-user'), id: 'test' } })
      if (req.get('test-outage')) req.sessionUnavailable = true
      next(req.get('test-limited') ? kitErrors.E_RATE_LIMITED({ retryAfterMs: 1000 }) : undefined)
    },
    roles: ['editor'],
    hasRole: async (userId, role) => userId === role,
    limits: { stores: createMemoryRateLimits(), share: () => 1, patienceMs: 1000, log },
    middleware,
    routers,
    downloads: { begin() {} },
    routes: [
      route({
        method: 'get',
        path: '/v1/things/:id',
        summary: 'Says who asks',
        access: 'public',
        limit: limit === undefined ? undefined : { requests: limit, windowMs: 60_000 },
        responses: {},
        handle: async ({ req }) => ({ status: 200, body: { seen: req.get('seen') ?? null } }),
      }),
    ],
  })
  const server = createHttpServer(app, { host: '127.0.0.1', port: 0, classes })
  await server.start()
  stops.push(() => server.stop({ refuseMs: 0, deadlineMs: 0 }))
  return {
    server,
    metrics,
    async send(path: string, headers: Record<string, string> = {}, method = 'GET', body?: string) {
      const response = await fetch(`http://127.0.0.1:${server.port()}${path}`, { method, headers, body })
      const type = response.headers.get('content-type')
      return { status: response.status, type, headers: response.headers, body: await response.json().catch(() => null) }
    },
  }
}

const problem = (status: number, code: string) => ({
  status,
  type: 'application/problem+json; charset=utf-8',
  body: { code },
})

function links(): ModuleRouter {
  const router = express.Router()
  router.get('/whoami', (req, res) => void res.json({ user: sessionUser(req) ?? null }))
  router.get('/rejects', async () => Promise.reject(new Error('from a promise')))
  router.get('/throws', () => {
    throw kitErrors.E_FORBIDDEN()
  })
  router.get('/silent', () => undefined)
  router.post('/echo', express.json({ limit: 100 }), (req, res) => void res.json(req.body))
  router.get('/items/:id', (req, res) => void res.json({ id: req.params.id }))
  return { path: '/v1/links/own', access: 'public', router }
}

test('middleware of a module sees every request, before the session and after it and the limits', async () => {
  const seen: string[] = []
  const note =
    (when: string): RequestHandler =>
    (req, _res, next) => {
      seen.push(`${when} ${sessionUser(req) ?? 'no user'}`)
      next()
    }
  const mark: RequestHandler = (req, _res, next) => {
    req.headers.seen = 'by the second'
    next()
  }
  const { send } = await start({
    middleware: [{ beforeSession: [note('before')], afterSession: [note('after')] }, { afterSession: [mark] }],
  })
  expect(await send('/v1/things/1', { 'test-user': 'ana' })).toMatchObject({
    status: 200,
    body: { seen: 'by the second' },
  })
  expect(seen).toEqual(['before no user', 'after ana'])
  expect(await send('/v1/things/1', { 'test-limited': '1' })).toMatchObject(problem(429, 'E_RATE_LIMITED'))
  expect(seen).toEqual(['before no user', 'after ana', 'before no user'])
})

test.each(['beforeSession', 'afterSession'] as const)('a failure of %s is a problem, and is logged', async (when) => {
  const fails = async (req: Request) => {
    if (req.path === '/v1/things/2') throw kitErrors.E_FORBIDDEN()
    throw new Error('from a promise')
  }
  const { send } = await start({ middleware: [{ [when]: [fails] }] })
  expect(await send('/v1/things/1')).toMatchObject(problem(500, 'E_INTERNAL'))
  expect(lines).toContainEqual(expect.objectContaining({ level: 'error', code: 'E_INTERNAL' }))
  expect(await send('/v1/things/2')).toMatchObject(problem(403, 'E_FORBIDDEN'))
})

test('a router has the session, and its failures are problems', async () => {
  const { send } = await start({ routers: [links()] })
  expect(await send('/v1/links/own/whoami', { 'test-user': 'ana' })).toMatchObject({
    status: 200,
    body: { user: 'ana' },
  })
  expect(await send('/v1/links/own/rejects')).toMatchObject(problem(500, 'E_INTERNAL'))
  expect(await send('/v1/links/own/throws')).toMatchObject(problem(403, 'E_FORBIDDEN'))
  expect(await send('/v1/links/own/nothing')).toMatchObject(problem(404, 'E_NOT_FOUND'))
  expect(await send('/v1/links/own/whoami', { 'test-limited': '1' })).toMatchObject(problem(429, 'E_RATE_LIMITED'))
  const json = { 'content-type': 'application/json' }
  expect(await send('/v1/links/own/echo', json, 'POST', '{')).toMatchObject(problem(400, 'E_MALFORMED_BODY'))
  expect(await send('/v1/links/own/echo', json, 'POST', `["${'x'.repeat(200)}"]`)).toMatchObject(
    problem(413, 'E_BODY_TOO_LARGE'),
  )
})

test('a router is one label, and each of its requests one line', async () => {
  const { send, metrics } = await start({ routers: [links()] })
  for (let id = 0; id < 20; id++) await send(`/v1/links/own/items/${id}`)
  await send('/v1/links/own/nothing')
  const text = await metrics.text()
  const labels = new Set([...text.matchAll(/^http_requests_total\{.*?route="([^"]*)"/gm)].map(([, label]) => label))
  expect([...labels]).toEqual(['/v1/links/own'])
  expect(lines.filter(({ msg, path }) => msg === 'request' && String(path).startsWith('/v1/links/own/'))).toHaveLength(
    21,
  )
})

test('a handler that never responds, of a router or of middleware, meets the deadline of the request', async () => {
  const silent = {
    afterSession: [(req: Request, _res: unknown, next: () => void) => void (req.get('mute') ? 0 : next())],
  }
  const { send } = await start({ routers: [links()], middleware: [silent], deadlineMs: 200 })
  expect(await send('/v1/links/own/silent')).toMatchObject(problem(503, 'E_TIMEOUT'))
  expect(await send('/v1/things/1', { mute: '1' })).toMatchObject(problem(503, 'E_TIMEOUT'))
})

test('a drain waits for a router', async () => {
  const entered = Promise.withResolvers<void>()
  const released = Promise.withResolvers<void>()
  const router = express.Router()
  router.get('/slow', async (_req, res) => {
    entered.resolve()
    await released.promise
    res.json({ done: true })
  })
  const { send, server } = await start({ routers: [{ path: '/v1/slow', access: 'public', router }] })
  const answer = send('/v1/slow/slow')
  await entered.promise
  server.beginDrain()
  const stopped = server.stop({ refuseMs: 0, deadlineMs: 20_000 })
  released.resolve()
  expect(await answer).toMatchObject({ status: 200, body: { done: true } })
  await stopped
})

test('the access of a router holds for all of it', async () => {
  const inner = links().router
  const { send } = await start({
    routers: [
      { path: '/v1/mine', access: 'user', router: inner },
      { path: '/v1/edited', access: { role: 'editor' }, router: inner },
      { path: '/v1/open', access: 'public', router: inner },
    ],
  })
  expect(await send('/v1/mine/whoami')).toMatchObject(problem(401, 'E_NOT_LOGGED_IN'))
  expect(await send('/v1/mine/whoami', { 'test-user': 'ana' })).toMatchObject({ status: 200 })
  expect(await send('/v1/edited/whoami', { 'test-user': 'ana' })).toMatchObject(problem(403, 'E_FORBIDDEN'))
  expect(await send('/v1/edited/whoami', { 'test-user': 'editor' })).toMatchObject({ status: 200 })
  // While sessions cannot be read, no user is taken for a visitor who writes.
  const outage = { 'test-outage': '1', 'content-type': 'application/json' }
  expect(await send('/v1/open/whoami', outage)).toMatchObject({ status: 200 })
  expect(await send('/v1/open/echo', outage, 'POST', '{}')).toMatchObject(problem(503, 'E_REDIS_UNAVAILABLE'))
})

test('a router with a path that is not plain, taken, or below another, is refused at boot', async () => {
  const { router } = links()
  const refused = (routers: ModuleRouter[], why: string) =>
    expect(start({ routers })).rejects.toMatchObject({ code: 'E_MODULE', message: expect.stringContaining(why) })
  await refused([{ path: '/:code', access: 'public', router }], 'needs a path of plain segments')
  await refused([{ path: '/v1/links/', access: 'public', router }], 'needs a path of plain segments')
  await refused([{ path: '/v1/things', access: 'public', router }], 'and GET /v1/things/:id collide')
  await refused([{ path: '/docs/own', access: 'public', router }], 'and /docs collide')
  await refused([{ path: '/v1/own', access: { role: 'author' }, router }], 'asks for the role author')
})

test("a route's own limit counts its user, or the address of a client without one", async () => {
  const { send } = await start({ limit: 2 })
  const get = (headers: Record<string, string>) => send('/v1/things/1', headers)
  const clients: Record<string, string>[] = [{ 'test-user': 'ana' }, { 'x-forwarded-for': '192.0.2.1' }]
  for (const headers of clients) {
    const [first, second, third] = [await get(headers), await get(headers), await get(headers)]
    expect([first.status, second.status]).toEqual([200, 200])
    expect(first.headers.get('ratelimit')).toContain('"get-v1-things-id"; r=1')
    expect(third).toMatchObject(problem(429, 'E_RATE_LIMITED'))
    expect(Number(third.headers.get('retry-after'))).toBeGreaterThan(0)
  }
  expect(await get({ 'test-user': 'bob' })).toMatchObject({ status: 200 })
  const body = JSON.stringify((await send('/v1/openapi.json')).body)
  expect(JSON.parse(body).paths['/v1/things/{id}'].get.responses.default.description).toContain('E_RATE_LIMITED')
})

test('a limit that cannot be kept is refused at boot', async () => {
  await expect(start({ limit: 0 })).rejects.toMatchObject({ code: 'E_MODULE' })
  await expect(start({ limit: 1.5 })).rejects.toMatchObject({ code: 'E_MODULE' })
})
