import { once } from 'node:events'
import { Agent, type RequestOptions, request } from 'node:http'
import { connect } from 'node:net'
import { Writable } from 'node:stream'
import { pino } from 'pino'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { createClientErrorAnswer } from '../http/client-error.ts'
import { createHttpServer, httpLimits } from './http-server.ts'

const lines: { requestId?: string }[] = []
const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(JSON.parse(line)) })
const server = createHttpServer(
  (req, res) => {
    if (req.url === '/begun') res.write('one')
    else if (req.url === '/refuse') res.writeHead(401).end('refused')
    else if (req.url === '/paused')
      req.on('data', () => req.pause()).once('data', () => res.writeHead(415).end('refused'))
    else if (req.url === '/read') {
      const chunks = req.iterator({ destroyOnReturn: false })
      void chunks.next().then(() => res.writeHead(415).end('refused'))
    } else if (req.url === '/piped') {
      const sink = new Writable({ highWaterMark: 1, write: () => res.writeHead(413).end('refused') })
      req.pipe(sink)
    } else if (req.method !== 'POST') res.end('answered')
  },
  { host: '127.0.0.1', port: 0, requestTimeoutMs: 1500, onClientError: createClientErrorAnswer(log) },
)

beforeAll(() => server.start())
afterAll(() => server.stop({ refuseMs: 0, deadlineMs: 0 }))

async function send(...pieces: string[]): Promise<string> {
  let answer = ''
  const socket = connect(server.port(), '127.0.0.1')
  socket.on('error', () => undefined)
  socket.on('data', (chunk) => (answer += chunk))
  for (const piece of pieces) {
    socket.write(piece)
    if (piece !== pieces.at(-1)) await once(socket, 'data')
  }
  await once(socket, 'close')
  return answer
}

const host = 'Host: localhost\r\n'
const post = `POST / HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n`
it.each([
  ['no HTTP', ['GET is what I want\r\n\r\n'], 400, 'E_MALFORMED_REQUEST'],
  ['an unknown method', [`FOO / HTTP/1.1\r\n${host}\r\n`], 405, 'E_METHOD_NOT_ALLOWED'],
  ['a large head', [`GET / HTTP/1.1\r\n${host}a: ${'a'.repeat(60_000)}\r\n\r\n`], 431, 'E_HEADERS_TOO_LARGE'],
  ['a broken body', [`${post}no number\r\n`], 400, 'E_MALFORMED_REQUEST'],
  ['a second request', [`GET / HTTP/1.1\r\n${host}\r\n`, 'GET is what I want\r\n\r\n'], 400, 'E_MALFORMED_REQUEST'],
])('%s gets a problem as its response, and the connection ends', async (_, pieces, status, code) => {
  const answer = await send(...pieces)
  const [head = '', body = ''] = answer.split('\r\n\r\n').slice(-2)
  expect(head).toMatch(new RegExp(`HTTP/1.1 ${status} `))
  expect(head).toMatch(/^content-type: application\/problem\+json$/im)
  expect(JSON.parse(body)).toMatchObject({ status, code, requestId: lines.at(-1)?.requestId })
})

it('an answer that has begun is broken off, not followed by another', async () => {
  const answer = await send(`POST /begun HTTP/1.1\r\n${host}Transfer-Encoding: chunked\r\n\r\n`, 'no number\r\n')
  expect(answer).toContain('one')
  expect(answer.match(/HTTP\/1\.1/g)).toHaveLength(1)
})

const large = 'x'.repeat(300_000)
it.each(['/refuse', '/paused', '/read', '/piped'])(
  'the body that %s leaves unread does not stand before the next request',
  async (path) => {
    const answer = await send(
      `PUT ${path} HTTP/1.1\r\n${host}Content-Length: ${large.length}\r\n\r\n${large}`,
      `GET / HTTP/1.1\r\n${host}Connection: close\r\n\r\n`,
    )
    expect(answer).toContain('refused')
    expect(answer).toContain('answered')
  },
)

it('a body that stops coming after its refusal gets no second response', async () => {
  const answer = await send(`PUT /refuse HTTP/1.1\r\n${host}Content-Length: 100\r\n\r\nx`)
  expect(answer.match(/HTTP\/1\.1/g)).toHaveLength(1)
}, 10_000)

it('keeps idle connections for longer than NGINX does, so that it is NGINX that closes them', async () => {
  const answer = await fetch(`http://127.0.0.1:${server.port()}/`)
  expect(answer.headers.get('keep-alive')).toBe(`timeout=${httpLimits.keepAliveMs / 1000}`)
})

// A proxy may be about to send a request on a connection that it has kept: closing it then would lose the request.
it('goes on serving open connections for the whole of the refusing period, and takes no new ones', async () => {
  const draining = createHttpServer((_req, res) => res.end('answered'), { host: '127.0.0.1', port: 0 })
  await draining.start()
  const port = draining.port()
  const kept = connect(port, '127.0.0.1')
  await once(kept, 'connect')
  let ended = false
  const stopped = draining.stop({ refuseMs: 1000, deadlineMs: 5000 }).then(() => {
    ended = true
  })
  await vi.waitFor(async () => {
    const [refused] = await once(connect(port, '127.0.0.1'), 'error', { signal: AbortSignal.timeout(100) })
    expect(refused.code).toBe('ECONNREFUSED')
  })
  expect(ended).toBe(false)
  kept.write(`GET / HTTP/1.1\r\n${host}\r\n`)
  const [answer] = await once(kept, 'data')
  expect(String(answer)).toMatch(/^HTTP\/1\.1 200 .*connection: close.*answered/is)
  await stopped
})

// The kernel cuts what waits to be accepted when the listener closes; a proxy has sent its request by then.
it('answers those that had connected when the drain began, however many wait to be accepted', async () => {
  const draining = createHttpServer((_req, res) => res.end('answered'), { host: '127.0.0.1', port: 0 })
  await draining.start()
  const sockets = Array.from({ length: 50 }, () => connect(draining.port(), '127.0.0.1'))
  await Promise.all(sockets.map((socket) => once(socket, 'connect')))
  const stopped = draining.stop({ refuseMs: 500, deadlineMs: 5000 })
  const answers = sockets.map(async (socket) => {
    socket.write(`POST / HTTP/1.1\r\n${host}Content-Length: 0\r\n\r\n`)
    return String((await once(socket, 'data'))[0]).slice(0, 12)
  })
  expect(await Promise.all(answers)).toEqual(sockets.map(() => 'HTTP/1.1 200'))
  await stopped
})

it('a server that refuses listens no more, answers kept connections once, and goes on at the same port', async () => {
  const other = createHttpServer((_, res) => res.end('served'), {
    host: '127.0.0.1',
    port: 0,
    refused: (_, res) => res.writeHead(503).end('refused'),
  })
  await other.start()
  const port = other.port()
  const agent = new Agent({ keepAlive: true })
  const ask = async (options: RequestOptions = {}) => {
    const [res] = await once(request({ host: '127.0.0.1', port, ...options }).end(), 'response')
    let body = ''
    for await (const chunk of res) body += chunk
    return [res.statusCode, body, res.headers.connection]
  }
  expect(await ask({ agent })).toEqual([200, 'served', 'keep-alive'])
  other.refuse()
  expect(other.port()).toBe(port)
  await vi.waitFor(() => expect(ask({ agent: false })).rejects.toMatchObject({ code: 'ECONNREFUSED' }))
  expect(await ask({ agent })).toEqual([503, 'refused', 'close'])
  await other.accept()
  expect(await ask({ agent })).toEqual([200, 'served', 'keep-alive'])
  other.refuse()
  await other.stop({ refuseMs: 0, deadlineMs: 0 })
  agent.destroy()
})
