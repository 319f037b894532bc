import { createClient } from '@escala/testing/client.ts'
import { openRaw } from '@escala/testing/raw.ts'
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

test('the redirect to /docs/ repeats nothing of the request', async () => {
  for (const path of ['/docs', `/docs?${'q'.repeat(5000)}`]) {
    const { status, headers } = await send(path)
    expect([status, headers.get('location')]).toEqual([308, '/docs/'])
  }
  expect((await send('/docs/')).status).toBe(200)
})
