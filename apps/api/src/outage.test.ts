import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type Client, createClient, expectStatus } from '@escala/testing/client'
import { type FaultProxy, startFaultProxy } from '@escala/testing/fault-proxy'
import { seedPassword } from '@escala/testing/template'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import type { Api } from './compose.ts'
import { startTestReplica } from './test-replica.ts'

// Holds the second table of docs/problems/redis-outage.md to what every route answers. When it fails, it prints the table as it should be.
const page = new URL('../../../docs/problems/redis-outage.md', import.meta.url)

interface Asked {
  client: Client
  url: string
  cookie: Record<string, string>
  show: string
}

type Ask = (asked: Asked) => Promise<{ status: number }>

const requests: Record<string, Ask> = {
  'GET /v1/openapi.json': ({ client }) => client.get('/v1/openapi.json'),
  'GET /docs/': ({ client }) => client.get('/docs/'),
  'GET a path that is not there': ({ client }) => client.get('/v1/nothing'),
  'POST a path that is not there': ({ client }) => client.post('/v1/nothing', {}),
  'PUT /v1/users': ({ client }) => client.put('/v1/users', {}),
  'POST /v1/users': ({ client }) =>
    client.post('/v1/users', { email: `${randomUUID()}@example.com`, password: 'correct horse', name: 'Ann' }),
  'POST /v1/session': ({ client }) =>
    client.post('/v1/session', { email: 'organiser@example.com', password: seedPassword }),
  'GET /v1/session': ({ client }) => client.get('/v1/session'),
  'GET /v1/flags': ({ client }) => client.get('/v1/flags'),
  'PUT /v1/flags/{name}': ({ client }) => client.put('/v1/flags/salesOpen', { value: true }),
  'GET /v1/shows': ({ client }) => client.get('/v1/shows'),
  'GET /v1/shows/{id}': ({ client, show }) => client.get(`/v1/shows/${show}`),
  'GET /v1/shows/{id}/poster': ({ client, show }) => client.get(`/v1/shows/${show}/poster`),
  'GET /v1/shows/{id}/live': ({ url, show, cookie }) => opened(`${url}/v1/shows/${show}/live`, cookie),
  'GET /v1/cart': ({ client }) => client.get('/v1/cart'),
  'PUT /v1/cart/items/{showId}': ({ client, show }) => client.put(`/v1/cart/items/${show}`, { quantity: 1 }),
  'GET /v1/orders': ({ client }) => client.get('/v1/orders'),
  'GET /v1/orders/{id}': ({ client }) => client.get(`/v1/orders/${randomUUID()}`),
  'POST /v1/shows/{id}/orders': ({ client, show }) =>
    client.post(`/v1/shows/${show}/orders`, { quantity: 1 }, { 'idempotency-key': randomUUID() }),
  'DELETE /v1/orders/{id}': ({ client }) => client.delete(`/v1/orders/${randomUUID()}`),
  'GET /v1/reports/sales': ({ client }) => client.get('/v1/reports/sales'),
  'POST /v1/shows': ({ client }) =>
    client.post('/v1/shows', {
      name: 'Gig',
      startsAt: '2099-01-01T00:00:00Z',
      priceCents: 1,
      currency: 'EUR',
      capacity: 1,
    }),
  'PATCH /v1/shows/{id}': ({ client, show }) => client.patch(`/v1/shows/${show}`, { name: 'Gig' }, anyVersion),
  'PUT /v1/shows/{id}/poster': ({ url, show, cookie }) => putPoster(`${url}/v1/shows/${show}/poster`, cookie),
  'GET /v1/sessions': ({ client }) => client.get('/v1/sessions'),
  'DELETE /v1/sessions/{id}': ({ client }) => client.delete(`/v1/sessions/${randomUUID()}`),
  'PUT /v1/password': ({ client }) =>
    client.put('/v1/password', { current: 'a wrong password', password: 'correct horse' }),
  'POST /v1/password-resets': ({ client }) => client.post('/v1/password-resets', { email: 'nobody@example.com' }),
  'PUT /v1/password-resets': ({ client }) =>
    client.put('/v1/password-resets', { token: 'a'.repeat(43), password: 'correct horse' }),
  'POST /v1/email-verifications': ({ client }) => client.post('/v1/email-verifications', {}),
  'PUT /v1/email-verifications': ({ client }) => client.put('/v1/email-verifications', { token: 'a'.repeat(43) }),
  'POST /v1/tokens': ({ client }) => client.post('/v1/tokens', { name: 'ci', scopes: ['orders:read'] }),
  'GET /v1/tokens': ({ client }) => client.get('/v1/tokens'),
  'DELETE /v1/tokens/{id}': ({ client }) => client.delete(`/v1/tokens/${randomUUID()}`),
  'GET /v1/me/export': ({ client }) => client.get('/v1/me/export'),
  'DELETE /v1/me': ({ client }) => client.delete('/v1/me', { password: 'a wrong password' }),
  'DELETE /v1/sessions': ({ client }) => client.delete('/v1/sessions'),
  'DELETE /v1/session': ({ client }) => client.delete('/v1/session'),
}
const anyVersion = { 'if-match': Array.from({ length: 99 }, (_, at) => `"${at + 1}"`).join(', ') }
const png = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1')

async function opened(url: string, headers: Record<string, string>) {
  const stream = await fetch(url, { headers, signal: AbortSignal.timeout(10_000) })
  await stream.body?.cancel()
  return stream
}

async function putPoster(url: string, headers: Record<string, string>) {
  const answer = await fetch(url, { method: 'PUT', body: png, headers: { ...headers, 'content-type': 'image/png' } })
  await answer.body?.cancel()
  return answer
}

let replica: Api
let state: FaultProxy
let cache: FaultProxy
let show = ''
let sid = ''

beforeAll(async () => {
  const target = `${inject('redisUrl')}/12` // a numbered database of its own, since files share limits otherwise
  ;[state, cache] = await Promise.all([startFaultProxy({ target }), startFaultProxy({ target })])
  replica = await startTestReplica({
    postgresUrl: inject('postgresUrl'),
    redisUrl: state.url,
    env: { CACHE_REDIS_URL: cache.url, REDIS_TIMEOUT_MS: '1000' },
  })
  const organiser = createClient(urlOf())
  await organiser.logIn('organiser@example.com', seedPassword)
  sid = organiser.cookies.get('sid') ?? ''
  show = expectStatus(await organiser.get('/v1/shows'), 200).body.items[0].id
  expect((await putPoster(`${urlOf()}/v1/shows/${show}/poster`, { cookie: `sid=${sid}` })).status).toBe(200)
})
afterAll(async () => {
  await replica?.stop()
  await Promise.all([state, cache].map((proxy) => proxy?.stop()))
})

const urlOf = () => `http://127.0.0.1:${replica.port()}`

async function degraded(): Promise<string[]> {
  await createClient(urlOf(), { keepAlive: false }).get('/v1/openapi.json') // a limit that no request uses stays as it is
  const { body } = await createClient(`http://127.0.0.1:${replica.internalPort()}`, { keepAlive: false }).get('/readyz')
  return body.degraded ?? []
}

/** Each route's status, asked one after the other, with a cookie or without. */
async function askAll(sid?: string): Promise<Record<string, number>> {
  const statuses: Record<string, number> = {}
  let current = sid
  for (const [route, ask] of Object.entries(requests)) {
    const client = createClient(urlOf(), { keepAlive: false })
    if (current !== undefined) client.cookies.set('sid', current)
    const cookie: Record<string, string> = current === undefined ? {} : { cookie: `sid=${current}` }
    statuses[route] = (await ask({ client, url: urlOf(), show, cookie })).status
    if (current !== undefined) current = client.cookies.get('sid') // a log-in has renewed it
  }
  return statuses
}

test('what every route answers without a Redis, with a cookie and without, is what the page says', async () => {
  const columns: Record<string, number>[] = []
  for (const proxy of [state, cache]) {
    await proxy.refuse()
    columns.push(await askAll(), await askAll(sid))
    await proxy.heal()
    await expect.poll(() => degraded(), { timeout: 5000 }).toEqual([])
  }
  const table = Object.keys(requests).map(
    (route) => `| \`${route}\` | ${columns.map((column) => column[route]).join(' | ')} |`,
  )
  const documented = readFileSync(page, 'utf8')
    .split('\n')
    .filter((line) => /^\| `[A-Z]+ /.test(line))
  if (documented.join() !== table.join())
    console.log(`The table of docs/problems/redis-outage.md:\n\n${table.join('\n')}\n`)
  expect(documented).toEqual(table)
})

test('no route is missing', async () => {
  const { body } = expectStatus(await createClient(urlOf()).get('/v1/openapi.json'), 200)
  const routes = Object.entries<object>(body.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  )
  expect(Object.keys(requests)).toEqual(expect.arrayContaining(routes))
})
