import { maxHeadBytes } from '@escala/kit/lifecycle/bounded-response'
import { createClient } from '@escala/testing/client'
import { openRaw } from '@escala/testing/raw'
import { seedPassword } from '@escala/testing/template'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import type { Api } from './compose.ts'
import { startTestReplica } from './test-replica.ts'

// A body that is not read stays on the connection, and the next request stands behind it: another client's,
// since NGINX shares its connections to the replicas.

let replica: Api
let show: string
const cookies: Record<string, string> = {}

beforeAll(async () => {
  replica = await startTestReplica({
    postgresUrl: inject('postgresUrl'),
    redisUrl: `${inject('redisUrl')}/10`, // a numbered database of its own, since files share limits otherwise
    env: { RATE_LIMIT_PER_MINUTE: '100', MAX_IN_FLIGHT: '20' },
    parts: {
      listener: (app) => (req, res) => {
        if (req.headers['x-test'] === 'large') res.setHeader('X-Large', 'x'.repeat(maxHeadBytes))
        app(req, res)
      },
    },
  })
  const url = `http://127.0.0.1:${replica.port()}`
  show = `/v1/shows/${(await createClient(url).get('/v1/shows')).body.items[0].id}`
  for (const name of ['organiser', 'customer']) {
    const client = createClient(url)
    await client.logIn(`${name}@example.com`, seedPassword)
    cookies[name] = `sid=${client.cookies.get('sid')}`
    client.close()
  }
})
afterAll(() => replica?.stop())

const missing = '/v1/shows/01990000-0000-7000-8000-00000000ffff'
const image = 'Content-Type: image/png\r\n'
const json = 'Content-Type: application/json\r\n'

interface Sent {
  method?: string
  path: string
  headers?: string
  user?: string
  address?: string
  bytes?: number
  begin?: string
}

/** 300 kB unless `bytes` says otherwise: more than what Node reads ahead, and than NGINX keeps back. */
function body({ bytes = 300_000, begin = '' }: Sent): Buffer {
  return Buffer.concat([Buffer.from(begin, 'latin1'), Buffer.alloc(bytes - begin.length, 'x')])
}

function head({ method = 'PUT', path, headers = '', user, address = '192.0.2.1' }: Sent, length: string): string {
  const cookie = user ? `Cookie: ${cookies[user]}\r\n` : ''
  return `${method} ${path} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: ${address}\r\n${cookie}${headers}${length}\r\n\r\n`
}

const framings = {
  'a length': (sent: Sent) => [head(sent, `Content-Length: ${sent.bytes ?? 300_000}`), body(sent)],
  chunks: (sent: Sent) => [
    head(sent, 'Transfer-Encoding: chunked'),
    `${(sent.bytes ?? 300_000).toString(16)}\r\n`,
    body(sent),
    '\r\n0\r\n\r\n',
  ],
}

const cases: [string, number, Sent][] = [
  ['an upload that is no image', 415, { path: '$/poster', user: 'organiser', headers: image }],
  ['an image of another type', 415, { path: '$/poster', user: 'organiser', headers: image, begin: 'GIF89a' }],
  [
    'an upload that is too large',
    413,
    { path: '$/poster', user: 'organiser', headers: image, bytes: 2_500_000, begin: '\x89PNG\r\n\x1a\n' },
  ],
  ['an upload without a log-in', 401, { path: '$/poster', headers: image }],
  ['an upload by a stranger', 403, { path: '$/poster', user: 'customer', headers: image }],
  ['an upload for a show that is not there', 404, { path: `${missing}/poster`, user: 'organiser', headers: image }],
  ['an upload for an id that is none', 400, { path: '/v1/shows/7/poster', user: 'organiser', headers: image }],
  ['another type than JSON', 415, { method: 'POST', path: '/v1/users', headers: image }],
  ['JSON that is too large', 413, { method: 'POST', path: '/v1/users', headers: json }],
  ['a path that is not there', 404, { method: 'POST', path: '/v1/nothing', headers: json }],
  ['a method that the path does not take', 405, { method: 'PATCH', path: '/v1/session', headers: json }],
  ['a body with DELETE', 204, { method: 'DELETE', path: '/v1/session', headers: json }],
  ['a body with GET', 200, { method: 'GET', path: '$', headers: json }],
]

test.each(
  cases.flatMap(([what, status, sent]) =>
    Object.keys(framings).map((framing) => [what, framing, status, sent] as const),
  ),
)('%s, with %s: the next request on the connection is answered', async (_what, framing, status, given) => {
  const sent = { ...given, path: given.path.replace('$', show) }
  await expectBoth(framings[framing as keyof typeof framings](sent), status)
})

/** Sends a request and, on the same connection, another one that must be answered properly. */
async function expectBoth(pieces: (string | Buffer)[], status: number) {
  const connection = openRaw(replica.port())
  for (const piece of pieces) connection.write(piece)
  const [, first] = await connection.next(/^HTTP\/1\.1 (\d+)[\s\S]*?\r\n\r\n/)
  expect(Number(first)).toBe(status)
  connection.write(head({ method: 'GET', path: show, address: '192.0.2.2', headers: 'Connection: close\r\n' }, 'X: y'))
  await connection.next(/HTTP\/1\.1 200 OK[\s\S]*"available"/, 4000)
  connection.socket.destroy()
}

test('a request over the rate limit, with a body', async () => {
  const limited = { method: 'POST', path: '/v1/users', headers: json, address: '192.0.2.3' }
  const client = createClient(`http://127.0.0.1:${replica.port()}`, { headers: { 'x-forwarded-for': '192.0.2.3' } })
  for (let i = 0; i < 100; i++) await client.get('/v1/openapi.json')
  for (const framing of Object.values(framings)) await expectBoth(framing(limited), 429)
})

test('too much work is refused early, also with a body, and then the connection goes on', async () => {
  const begun = Array.from({ length: 20 }, () => {
    const connection = openRaw(replica.port())
    connection.write(head({ method: 'POST', path: '/v1/users', headers: json }, 'Content-Length: 100'))
    return connection
  })
  await expect.poll(async () => (await fetch(`http://127.0.0.1:${replica.port()}${show}`)).status).toBe(503)
  const connection = openRaw(replica.port())
  for (const piece of framings['a length']({ path: `${show}/poster`, headers: image })) connection.write(piece)
  await connection.next(/^HTTP\/1\.1 503 [\s\S]*E_OVERLOADED[\s\S]*\}/)
  for (const { socket } of begun) socket.destroy()
  await expect.poll(async () => (await fetch(`http://127.0.0.1:${replica.port()}${show}`)).status).toBe(200)
  connection.write(head({ method: 'GET', path: show }, 'Connection: close'))
  await connection.next(/HTTP\/1\.1 200 OK[\s\S]*"available"/, 4000)
  connection.socket.destroy()
})

// NGINX would answer it with a 502, and after three of them ask this replica no more.
test('a response whose head is too large is a 500', async () => {
  const response = await fetch(`http://127.0.0.1:${replica.port()}/v1/shows`, { headers: { 'x-test': 'large' } })
  expect([response.status, await response.json()]).toMatchObject([500, { code: 'E_INTERNAL' }])
  expect([...response.headers].join().length).toBeLessThan(1000)
})
