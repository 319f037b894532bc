import { createClient } from '@escala/testing/client'
import { openRaw } from '@escala/testing/raw'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import type { Api } from './compose.ts'
import { startTestReplica } from './test-replica.ts'

let replica: Api
let base: string

beforeAll(async () => {
  replica = await startTestReplica({
    postgresUrl: inject('postgresUrl'),
    redisUrl: inject('redisUrl'),
    env: { MAX_IN_FLIGHT: '2' },
  })
  base = `http://127.0.0.1:${replica.port()}`
})
afterAll(() => replica?.stop())

const send = (path: string, options: RequestInit = {}) => fetch(base + path, { redirect: 'manual', ...options })

test('a replica that has too much work refuses at once, and takes requests again afterwards', async () => {
  const begun = [1, 2].map(() => openRaw(replica.port()))
  for (const { write } of begun) {
    write('POST /v1/users HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n')
  }
  await expect.poll(async () => (await send('/v1/openapi.json')).status).toBe(503)
  const client = createClient(base)
  const refused = await client.get('/v1/openapi.json')
  expect(refused).toMatchObject({ status: 503, body: { code: 'E_OVERLOADED' } })
  expect(Number(refused.headers['retry-after'])).toBeGreaterThanOrEqual(1)
  expect((await client.delete('/v1/session')).status).toBe(204) // essential
  client.close()
  const metrics = await fetch(`http://127.0.0.1:${replica.internalPort()}/metrics`).then((response) => response.text())
  expect(metrics).toMatch(/^escala_shed_requests_total\{reason="requests in flight",.*\} [1-9]/m)
  for (const { socket } of begun) socket.destroy()
  await expect.poll(async () => (await send('/v1/openapi.json')).status).toBe(200)
})

test.each(['get', 'head'])(
  '%s with one trailing slash is redirected to the one name, without the query',
  async (method) => {
    for (const path of ['/v1/session', '/v1/flags', '/v1/openapi.json']) {
      const { status, headers } = await send(`${path}/?${'q'.repeat(5000)}`, { method })
      expect([status, headers.get('location')]).toEqual([308, path])
    }
  },
)

test.each([
  '/V1/session',
  '/v1/Session',
  '/v1/session//',
  '//v1/session',
  '//v1/session/',
  '/v1//session',
  '/v1/./session/.',
  '/v1/%73ession',
  '/v1/openapi.JSON',
  '/DOCS/',
  '/v1/session%2f',
  '/v1/nothing/',
])('%s is no name of anything', async (path) => {
  const connection = openRaw(replica.port())
  connection.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
  await connection.next(/^HTTP\/1\.1 404 /)
})

test('writes are not redirected', async () => {
  expect((await send('/v1/users/', { method: 'POST' })).status).toBe(404)
})

test('no cache may keep what depends on the user, errors included; what is the same for all users may be kept', async () => {
  const cacheControl = async (path: string, options?: RequestInit) =>
    (await send(path, options)).headers.get('cache-control')
  const user = createClient(base)
  const { email, password } = await user.signUp()
  await user.logIn(email, password)
  expect(await user.get('/v1/session')).toMatchObject({
    status: 200,
    headers: { 'cache-control': 'private, no-store' },
  })
  expect(await user.get('/v1/flags')).toMatchObject({ status: 403, headers: { 'cache-control': 'private, no-store' } })
  user.close()
  for (const path of ['/v1/session', '/v1/nothing', '/v1/session/', '/docs/nothing']) {
    expect(await cacheControl(path)).toBe('private, no-store')
  }
  expect(await cacheControl('/v1/users', { method: 'POST', body: '{' })).toBe('private, no-store')
  expect(await cacheControl('/v1/openapi.json')).toBe('no-cache')
  expect(await cacheControl('/docs/swagger-ui.css')).toContain('max-age=3600')
})

test('the pages of /docs/ load nothing from elsewhere, and are in no frame', async () => {
  for (const path of ['/docs/', '/docs/index.html', '/docs/swagger-initializer.js']) {
    const policy = (await send(path)).headers.get('content-security-policy')
    expect(policy).toContain("default-src 'none'")
    expect(policy).toContain("script-src 'self';")
    expect(policy).toContain("frame-ancestors 'none'")
  }
  const html = await (await send('/docs/')).text()
  expect(html).not.toMatch(/<script(?![^>]*\bsrc=)|\son\w+=|src="https?:/i) // the policy would stop these
})

test('conditional requests and ranges for a file of /docs/ are no errors of ours', async () => {
  const of = async (headers: Record<string, string>) => (await send('/docs/swagger-ui.css', { headers })).status
  expect(await of({ range: 'bytes=99999999-' })).toBe(200)
  expect(await of({ 'if-match': '"other"' })).toBe(400)
})

test.each([
  ['203.0.113.7', '203.0.113.7:4711'],
  ['203.0.113.7:1', '203.0.113.7:2'],
  ['2001:db8::1', '[2001:db8::1]:4711'],
  ['[2001:db8::1]', '[2001:db8::1]:1'],
])('a client that is %s is no other one as %s', async (one, other) => {
  const budget = async (address: string) =>
    (await send('/v1/openapi.json', { headers: { 'x-forwarded-for': address } })).headers.get('ratelimit')
  const left = (limit: string | null) => Number(/r=(\d+)/.exec(limit ?? '')?.[1])
  const before = left(await budget(one))
  expect(left(await budget(other))).toBe(before - 1)
})

test('the redirect to /docs/ repeats nothing of the request', async () => {
  for (const path of ['/docs', `/docs?${'q'.repeat(5000)}`]) {
    const { status, headers } = await send(path)
    expect([status, headers.get('location')]).toEqual([308, '/docs/'])
  }
  expect((await send('/docs/')).status).toBe(200)
})
