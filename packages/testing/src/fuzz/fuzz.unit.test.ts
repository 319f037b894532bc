import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { toCurl } from './curl.ts'
import { fuzz } from './fuzz.ts'

const thing = {
  type: 'object',
  properties: { size: { type: 'integer', minimum: 0, maximum: 9 } },
  required: ['size'],
  additionalProperties: false,
}
const problem = { content: { 'application/problem+json': { schema: { type: 'object' } } } }
const document = {
  paths: {
    '/things': {
      get: {
        parameters: [{ in: 'query', name: 'search', schema: { type: 'string' } }],
        responses: {
          200: { content: { 'application/json': { schema: { $ref: '#/components/schemas/Thing' } } } },
          default: problem,
        },
      },
      post: {
        requestBody: { content: { 'application/json': { schema: { $ref: '#/components/schemas/Thing' } } } },
        responses: { 201: { description: 'made' }, default: problem },
      },
    },
  },
  components: { schemas: { Thing: thing } },
}

type Misdeed = (res: ServerResponse) => unknown

/** What the server does wrong, and for which requests: each test plants one fault. */
let fault: (req: IncomingMessage, body: string) => Misdeed | false = () => false

// A body that stops half-way is given up soon.
const server = createServer({ requestTimeout: 200, connectionsCheckingInterval: 50 }, async (req, res) => {
  res.setHeader('X-Request-Id', 'one')
  res.setHeader('X-Content-Type-Options', 'nosniff')
  let body = ''
  try {
    for await (const chunk of req) body += chunk
  } catch {
    return // broken off
  }
  const misdeed = fault(req, body)
  if (misdeed) return misdeed(res)
  if (!isFor('/things', req) || req.method === 'OPTIONS') return refuse(res, 404)
  if (req.method === 'POST') return res.writeHead(201).end()
  if (req.method !== 'GET' && req.method !== 'HEAD') return refuse(res, 405)
  res.writeHead(200, json).end('{"size":1}')
})
const refuseRaw = (socket: Duplex) => {
  const body = JSON.stringify(problemOf(400))
  const head = ['HTTP/1.1 400 Bad Request', 'X-Request-Id: one', 'X-Content-Type-Options: nosniff']
  head.push('Content-Type: application/problem+json', `Content-Length: ${body.length}`, 'Connection: close')
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`)
}
server.on('clientError', (_error, socket) => refuseRaw(socket))
server.on('connect', (_req, socket) => refuseRaw(socket))
server.on('checkExpectation', (_req, res) =>
  refuse(res.setHeader('X-Request-Id', 'one').setHeader('X-Content-Type-Options', 'nosniff'), 400),
)

const json = { 'Content-Type': 'application/json' }
const problemOf = (status: number) => ({ type: 'x', title: 'x', status, code: `E_${status}`, requestId: 'one' })

function refuse(res: ServerResponse, status: number, more: object = {}) {
  res
    .writeHead(status, { 'Content-Type': 'application/problem+json' })
    .end(JSON.stringify({ ...problemOf(status), ...more }))
}

beforeAll(async () => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
})
afterAll(() => {
  server.close()
  server.closeAllConnections()
})

const run = (seed = 1) =>
  fuzz({
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    document,
    seed,
    requests: 300,
    identities: { user: async () => [] },
    known: () => [],
    files: {},
    codes: Object.fromEntries([400, 404, 405, 408, 413, 431].map((status) => [`E_${status}`, [status, 400]])),
    undocumented: /^$/,
    withinMs: 3000,
    maxHeadBytes: 8192,
    maxErrorBytes: 1000,
    maxBodyBytes: 1000,
    inspect: async () => [],
  })

const isFor = (path: string, req: IncomingMessage) => req.url?.split('?')[0] === path

test.each<[string, typeof fault, string, RegExp]>([
  [
    'a 500 for a NUL in a search',
    (req) =>
      isFor('/things', req) && /search=[^&]*%00/.test(req.url ?? '') && ((res) => refuse(res, 500, { code: 'E_500' })),
    'GET /things: 500 with a code that is not in the catalogue',
    /search=[^&]*%00/,
  ],
  [
    'a status that the document does not have',
    (req, body) => req.method === 'POST' && body.includes('1e3') && ((res) => res.writeHead(202).end()),
    'POST /things: 202 is not documented',
    /1e3/,
  ],
  [
    'a body outside of its schema',
    (req) => req.method === 'GET' && isFor('/things', req) && ((res) => res.writeHead(200, json).end('{"size":10}')),
    'GET /things: 200 with a body outside of its schema: /size must be <= 9',
    /things/,
  ],
  [
    'an error that repeats its input',
    (_, body) => body.length > 1000 && ((res) => refuse(res, 400, { detail: body })),
    'POST /things: 400 with a large body',
    /printf/,
  ],
  [
    'an error that is a page',
    (req) =>
      !/^(GET|HEAD|POST)$/.test(req.method ?? '') &&
      ((res) => res.writeHead(404, { 'Content-Type': 'text/html' }).end('<pre>no</pre>')),
    'another address: 404 as text/html',
    /-X (DELETE|OPTIONS|PATCH|PROPFIND|PUT)/,
  ],
  [
    'no answer',
    (req) => 'last-event-id' in req.headers && isFor('/things', req) && ((res) => res.destroy()),
    'GET /things: closed unanswered',
    /Last-Event-ID/,
  ],
])('finds %s, and the request that shows it', async (_, planted, what, command) => {
  fault = planted
  const { findings } = await run()
  expect(findings.map((finding) => finding.what)).toContain(what)
  expect(findings.find((finding) => finding.what === what)?.curl).toMatch(command)
})

test('finds nothing where nothing is wrong, and sends the same requests for the same seed', async () => {
  const seen: string[] = []
  fault = (req, body) => {
    seen.push(`${req.method} ${req.url} ${body}`)
    return false
  }
  const { findings, sent } = await run()
  expect([findings, sent]).toEqual([[], 300])
  const first = seen.splice(0).sort()
  await run()
  expect(seen.sort()).toEqual(first)
})

test('a command sends exactly what the request had', () => {
  const request = {
    method: 'POST',
    target: '/a?b=%00',
    headers: [['X-It', "it's"]] as [string, string][],
    body: Buffer.from('100% \0é'),
  }
  expect(toCurl('http://127.0.0.1:1', request)).toBe(
    `printf '100%% \\000\\303\\251' | curl -i --path-as-is --globoff -X POST -H 'X-It: it'\\''s' --data-binary @- 'http://127.0.0.1:1/a?b=%00'`,
  )
  expect(toCurl('http://127.0.0.1:1', { ...request, target: '/a b' })).toMatch(
    /^printf 'POST \/a b HTTP\/1\.1\\015\\012.* \| nc 127\.0\.0\.1 1$/,
  )
})
