import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest'
import { createLargeHeadAnswer } from '../http/client-error.ts'
import { boundedResponse, maxHeadBytes } from './bounded-response.ts'
import { createHttpServer } from './http-server.ts'

const lines: { msg: string; path?: string }[] = []
const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(JSON.parse(line)) })
const large = 'x'.repeat(maxHeadBytes)
let finished = 0

/** Like express-session and others: a header is added in the very last moment. */
function addLate(res: ServerResponse) {
  const { writeHead } = res
  res.writeHead = ((...args: [number]) => {
    res.setHeader('Set-Cookie', large)
    return writeHead.apply(res, args)
  }) as typeof res.writeHead
}

const handlers: Record<string, (req: IncomingMessage, res: ServerResponse) => void> = {
  '/small': (_req, res) => res.setHeader('X-Large', large.slice(0, -500)).end('answered'),
  '/set': (_req, res) => res.setHeader('X-Large', large).end('answered'),
  '/many': (_req, res) => res.setHeader('Set-Cookie', Array(100).fill('x'.repeat(90))).end('answered'),
  '/object': (_req, res) => res.writeHead(200, { 'X-Large': large }).end('answered'),
  '/reason': (_req, res) => res.writeHead(200, 'fine', { 'X-Large': large }).end('answered'),
  '/pairs': (_req, res) => res.writeHead(200, ['X-Large', large]).end('answered'),
  '/late': (_req, res) => {
    addLate(res)
    res.end('answered')
  },
  '/written': (_req, res) => {
    res.setHeader('X-Large', large)
    res.write('answered')
    setTimeout(() => res.end('answered'), 10)
  },
  '/piped': (_req, res) => {
    res.setHeader('Location', `/${large}`)
    Readable.from(['answered', 'answered']).pipe(res)
  },
  '/stream': (_req, res) => {
    res.setHeader('X-Large', large).flushHeaders()
    const timer = setInterval(() => res.write('answered'), 1)
    res.once('close', () => clearInterval(timer))
  },
}

const server = createHttpServer(
  (req, res) => {
    res.setHeader('X-Request-Id', 'the-id')
    res.once('finish', () => finished++)
    handlers[req.url?.split('?')[0] ?? '']?.(req, res)
  },
  { host: '127.0.0.1', port: 0, classes: { ServerResponse: boundedResponse(createLargeHeadAnswer(log)) } },
)
beforeAll(() => server.start())
afterAll(() => server.stop({ refuseMs: 0, deadlineMs: 0 }))
beforeEach(() => {
  lines.length = 0
  finished = 0
})

const get = (path: string, method = 'GET') => fetch(`http://127.0.0.1:${server.port()}${path}`, { method })

it('a head below the bound is sent as it is', async () => {
  const answer = await get('/small')
  expect([answer.status, await answer.text(), lines]).toEqual([200, 'answered', []])
})

it.each(Object.keys(handlers).slice(1))('%s: a head above it becomes a 500', async (path) => {
  const answer = await get(`${path}?secret=1`)
  expect([answer.status, answer.headers.get('content-type')]).toEqual([500, 'application/problem+json'])
  expect(await answer.json()).toMatchObject({ code: 'E_INTERNAL', requestId: 'the-id' })
  expect([...answer.headers].join().length).toBeLessThan(1000)
  expect(lines).toMatchObject([{ msg: 'response head too large', path }])
  expect(JSON.stringify(lines)).not.toMatch(/xxxx|secret/)
  expect((await get('/small')).status).toBe(200) // on the same connection
  await expect.poll(() => finished).toBe(2)
})

it('also for HEAD', async () => {
  const answer = await get('/set', 'HEAD')
  expect([answer.status, await answer.text()]).toEqual([500, ''])
})
