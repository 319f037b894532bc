import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { apiSettings } from '@escala/api/config'
import { kitErrors } from '@escala/kit/errors/errors'
import { maxHeadBytes } from '@escala/kit/lifecycle/bounded-response'
import { createHttpServer } from '@escala/kit/lifecycle/http-server'
import { freePort } from '@escala/servers/processes'
import { describe, expect, it, vi } from 'vitest'
import { createTestNginx } from './test-nginx.ts'

const methods = ['GET', 'HEAD', 'POST', 'PATCH', 'PUT', 'DELETE']
const nginx = createTestNginx()
const { addresses, behindBalancer, fresh, logged, seen, send } = nginx

/** What comes back for bytes that no HTTP client would send. */
function sendRaw(bytes: string): Promise<{ status: number; head: string; body: string }> {
  return new Promise((resolve, reject) => {
    let answer = ''
    const socket = connect(nginx.port(), '127.0.0.1', () => socket.write(bytes))
    socket.setTimeout(5000, () => socket.destroy(new Error('no end of the answer')))
    socket.on('data', (chunk) => {
      answer += chunk
      const [head = '', body = ''] = answer.split('\r\n\r\n')
      // NGINX may go on reading for a while before it closes.
      if (body.length === Number(/^content-length: (\d+)$/im.exec(head)?.[1])) socket.end()
    })
    socket.on('error', reject)
    socket.on('close', () => {
      const [head = '', body = ''] = answer.split('\r\n\r\n')
      resolve({ status: Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1] ?? 0), head, body })
    })
  })
}

describe('what NGINX compresses', () => {
  const encodingOf = async (path: string, accepts = 'gzip') => {
    const { headers } = await send('GET', path, { headers: { 'accept-encoding': accepts } })
    return [headers.get('content-encoding'), headers.get('vary'), headers.get('etag')]
  }

  it('text above 1 kB, for clients that take it, and its tag becomes a weak one', async () => {
    await fresh()
    expect(await encodingOf('/json/2000')).toEqual(['gzip', 'Accept-Encoding', 'W/"3-x"'])
    expect(await encodingOf('/json/2000', 'identity')).toEqual([null, 'Accept-Encoding', '"3-x"'])
    expect(await encodingOf('/json/500')).toEqual([null, null, '"3-x"'])
  })

  it.each(['/events/2000', '/image/2000'])('%s passes as it is', async (path) => {
    await fresh()
    expect(await encodingOf(path)).toEqual([null, null, '"3-x"'])
  })
})

describe('what NGINX repeats', () => {
  it.each(methods)('%s goes on to the next replica when one refuses the connection', async (method) => {
    const gone = await Promise.all([freePort(), freePort()])
    await fresh([...gone.map((port) => `127.0.0.1:${port}`), addresses()[0] as string])
    const answers = await Promise.all(Array.from({ length: 6 }, () => send(method, '/')))
    expect(answers.map(({ status }) => status)).toEqual(Array(6).fill(200))
    expect(seen).toHaveLength(6)
  })

  // Those that start are in the list before they listen. Nobody else's requests are there to find that out. Of POST and PATCH
  // every replica is tried, also more than the eight times that a request is begun; of reads two each time, which is begun seven times.
  const refusals = { GET: 8, HEAD: 8, PUT: 6, DELETE: 6, POST: 9, PATCH: 9 } as Record<string, number>
  it.each(methods.map((method) => [method, refusals[method] ?? 0] as const))(
    '%s gets through though it comes alone and %d of the replicas refuse',
    async (method, refusing) => {
      const gone = await Promise.all(Array.from({ length: refusing }, () => freePort()))
      await fresh([...gone.map((port) => `127.0.0.1:${port}`), addresses()[0] as string])
      expect((await send(method, '/')).status).toBe(200)
      expect(seen).toHaveLength(1)
    },
  )

  it.each(methods)(
    '%s gets through while four of five replicas start, and the fifth is the busiest',
    async (method) => {
      const starting = await Promise.all(Array.from({ length: 4 }, () => freePort()))
      await fresh([addresses()[0] as string, ...starting.map((port) => `127.0.0.1:${port}`)], {
        settings: { proxy_read_timeout: '5s' },
      })
      const busy = send('GET', '/hang', { signal: AbortSignal.timeout(2000) }).catch(() => undefined)
      await vi.waitFor(() => expect(seen).toHaveLength(1))
      expect((await send(method, '/')).status).toBe(200)
      expect(seen).toHaveLength(2)
      await busy
    },
  )

  it.each(methods)('%s is served at once when every replica was gone and one is back', async (method) => {
    const port = await freePort()
    await fresh([`127.0.0.1:${port}`, `127.0.0.1:${await freePort()}`])
    // Until each has failed as often as it may.
    for (let sent = 0; sent < 6; sent++) expect((await send(method, '/')).status).toBe(503)
    const back = createServer((_req, res) => void res.end())
    await once(back.listen(port, '127.0.0.1'), 'listening')
    expect((await send(method, '/')).status).toBe(200)
    back.close()
    back.closeAllConnections()
  })

  it.each(methods)('%s that a replica took runs at most as often as it may', async (method) => {
    const runs = method === 'GET' || method === 'HEAD' ? 2 : 1
    await fresh()
    const late = await send(method, '/hang')
    expect([late.status, late.headers.get('content-type')]).toEqual([504, 'application/problem+json'])
    expect(seen).toHaveLength(runs)
    await fresh()
    seen.length = 0
    expect((await send(method, '/cut')).status).toBe(502)
    expect(seen).toHaveLength(runs)
  })

  it.each(['GET', 'POST', 'PUT'])('the log has an entry for each attempt of a %s', async (method) => {
    await fresh([`127.0.0.1:${await freePort()}`, addresses()[0] as string])
    for (let sent = 0; sent < 2; sent++) await send(method, '/')
    const between = method === 'PUT' ? ' : ' : ', ' // where it starts again, or where NGINX retries by itself
    await vi.waitFor(async () => {
      const lines = (await logged()).slice(-2)
      const again = lines.map(({ replicaStatus, replica }) => ({
        statuses: String(replicaStatus).split(between),
        replicas: String(replica).split(between),
      }))
      const statuses = again.map((one) => one.statuses).find((all) => all.length > 1)
      expect(statuses?.at(-1)).toBe('200')
      expect(new Set(statuses?.slice(0, -1))).toEqual(new Set(['502']))
      for (const one of again) expect(one.replicas).toHaveLength(one.statuses.length)
    })
  })

  it("a replica's own 503 reaches the client, and the replica is not given up", async () => {
    await fresh()
    for (let index = 0; index < 6; index++) expect((await send('GET', '/busy')).status).toBe(503)
    expect(seen).toHaveLength(6)
    expect((await send('GET', '/')).status).toBe(200)
  })

  it.each(methods)('%s gets E_NO_REPLICA when no replica listens', async (method) => {
    await fresh([`127.0.0.1:${await freePort()}`])
    const answer = await send(method, '/')
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1'])
    if (method !== 'HEAD') expect(await answer.json()).toMatchObject({ status: 503, code: 'E_NO_REPLICA' })
  })
})

it('a replica that hangs fails no read, though it is left alone only after three failures', async () => {
  const hung = createTcpServer(() => undefined)
  await once(hung.listen(0, '127.0.0.1'), 'listening')
  await fresh([`127.0.0.1:${(hung.address() as AddressInfo).port}`, ...addresses().slice(0, 2)], {
    settings: { proxy_read_timeout: '1s' },
  })
  const answers: Promise<Response>[] = []
  for (let i = 0; i < 400; i++) {
    answers.push(send(i % 2 ? 'GET' : 'HEAD', '/slow'))
    await wait(4) // the others always have some in flight, so that the one that hangs looks idle when it has failed
  }
  const statuses = (await Promise.all(answers)).map(({ status }) => status)
  expect(statuses.filter((status) => status !== 200)).toEqual([])
  hung.close()
  await fresh()
})

describe('a request can fail itself, and never the replica that it asked', () => {
  it('20 requests whose response has too large a head, and 0 of 60 others refused', async () => {
    const servers = [1, 2, 3].map(() =>
      createHttpServer(
        (req, res) => {
          if (req.url?.startsWith('/large')) res.setHeader('Set-Cookie', 'x'.repeat(20_000))
          res.end('answered')
        },
        { host: '127.0.0.1', port: 0 },
      ),
    )
    for (const server of servers) await server.start()
    await fresh(
      servers.map((server) => `127.0.0.1:${server.port()}`),
      { settings: {} },
    )
    const failing = Array.from({ length: 20 }, () => send('GET', '/large'))
    const others = Array.from({ length: 60 }, () => send('GET', '/'))
    expect(new Set((await Promise.all(failing)).map((answer) => answer.status))).toEqual(new Set([500]))
    expect((await Promise.all(others)).map((answer) => answer.status)).toEqual(Array(60).fill(200))
    await Promise.all(servers.map((server) => server.stop({ refuseMs: 0, deadlineMs: 0 })))
  })

  it('the largest head that the API sends gets through', async () => {
    const server = createHttpServer(
      (_req, res) => void res.setHeader('X-Large', 'x'.repeat(maxHeadBytes - 200)).end(),
      {
        host: '127.0.0.1',
        port: 0,
      },
    )
    await server.start()
    await fresh([`127.0.0.1:${server.port()}`], { settings: {} })
    expect((await send('GET', '/')).status).toBe(200)
    await server.stop({ refuseMs: 0, deadlineMs: 0 })
    await fresh()
  })
})

describe('what NGINX passes on', () => {
  it('an id, an address and a protocol of its own making', async () => {
    await fresh()
    const forged = { 'x-request-id': 'mine', 'x-forwarded-for': '9.9.9.9', 'x-forwarded-proto': 'https' }
    const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
    await send('GET', '/', { headers: { ...forged, traceparent, forwarded: 'for=9.9.9.9' } })
    const headers = seen[0]?.headers
    expect(headers?.['x-request-id']).toMatch(/^[0-9a-f]{32}$/)
    const id = String(headers?.['x-request-id'])
    expect(headers?.traceparent).toBe(`00-${id}-${id.slice(0, 16)}-01`)
    expect(headers).toMatchObject({ 'x-forwarded-for': '127.0.0.1', 'x-forwarded-proto': 'http' })
    expect(headers).not.toHaveProperty('forwarded')
    expect(headers?.host).toBe(new URL(nginx.url()).host)
    await vi.waitFor(async () => {
      expect(await logged()).toContainEqual(
        expect.objectContaining({
          requestId: headers?.['x-request-id'],
          status: 200,
          method: 'GET',
          path: '/',
        }),
      )
    })
  })

  it.each([
    ['192.0.2.9:4711', '192.0.2.9'],
    ['[2001:db8::9]:4711', '2001:db8::9'],
  ])('of %s, which a balancer in front has sent, the address without the port', async (forwarded, address) => {
    await behindBalancer()
    await send('GET', '/', { headers: { 'x-forwarded-for': forwarded } })
    expect(seen[0]?.headers['x-forwarded-for']).toBe(address)
    await fresh()
  })

  it('many requests over one connection', async () => {
    for (let index = 0; index < 12; index++) await (await send('GET', '/')).text()
    expect(new Set(seen.map(({ socket }) => socket.remotePort)).size).toBeLessThanOrEqual(6) // per worker and replica
  })

  it('bodies of up to 2 MB', async () => {
    const largest = 2 * 1024 * 1024
    expect((await send('POST', '/', { body: Buffer.alloc(largest) })).status).toBe(200)
    const refused = await send('PUT', '/', { body: Buffer.alloc(largest + 1) })
    expect(await refused.json()).toMatchObject({ status: 413, code: 'E_BODY_TOO_LARGE' })
    expect(refused.headers.get('x-request-id')).toMatch(/^[0-9a-f]{32}$/)
  })

  it.each(['/livez', '/readyz', '/metrics', '/scale', '/scale/now'])('nothing of %s', async (path) => {
    const answer = await send('GET', path)
    expect(await answer.json()).toMatchObject({ status: 404, code: 'E_NOT_FOUND' })
    expect(seen).toHaveLength(0)
  })
})

const long = 'a'.repeat(8200)
const close = 'Host: localhost\r\nConnection: close\r\n'
const chunked = `${close}Transfer-Encoding: chunked\r\n\r\n`

describe('what NGINX itself refuses is a problem, too', () => {
  it.each([
    ['no HTTP at all', 'hello\r\n\r\n', 400, 'E_MALFORMED_REQUEST'],
    ['a header with a NUL', `GET / HTTP/1.1\r\n${close}a: \0\r\n\r\n`, 400, 'E_MALFORMED_REQUEST'],
    ['HTTP/1.1 without Host', 'GET / HTTP/1.1\r\n\r\n', 400, 'E_MALFORMED_REQUEST'],
    ['a broken escape', `GET /%zz HTTP/1.1\r\n${close}\r\n`, 400, 'E_MALFORMED_REQUEST'],
    ['a broken chunk', `POST / HTTP/1.1\r\n${chunked}no number\r\n`, 400, 'E_MALFORMED_REQUEST'],
    ['a broken chunk for a stream', `POST /v1/a/live HTTP/1.1\r\n${chunked}no number\r\n`, 400, 'E_MALFORMED_REQUEST'],
    ['an unknown encoding', `POST / HTTP/1.1\r\n${close}Transfer-Encoding: x\r\n\r\n`, 501, 'E_MALFORMED_REQUEST'],
    ['a later version', `GET / HTTP/3.0\r\n${close}\r\n`, 505, 'E_MALFORMED_REQUEST'],
    ['TRACE', `TRACE / HTTP/1.1\r\n${close}\r\n`, 405, 'E_METHOD_NOT_ALLOWED'],
    ['a long address', `GET /${long} HTTP/1.1\r\n${close}\r\n`, 414, 'E_ADDRESS_TOO_LONG'],
    ['a large header', `GET / HTTP/1.1\r\n${close}a: ${long}\r\n\r\n`, 431, 'E_HEADERS_TOO_LARGE'],
    [
      'many headers',
      `GET / HTTP/1.1\r\n${close}${`a: ${'a'.repeat(1000)}\r\n`.repeat(40)}\r\n`,
      431,
      'E_HEADERS_TOO_LARGE',
    ],
    ['a large body', `POST / HTTP/1.1\r\n${close}Content-Length: 9999999\r\n\r\n`, 413, 'E_BODY_TOO_LARGE'],
    [
      'a large body for a stream',
      `POST /v1/a/live HTTP/1.1\r\n${close}Content-Length: 9999999\r\n\r\n`,
      413,
      'E_BODY_TOO_LARGE',
    ],
    ['its own address for problems', `GET /problem HTTP/1.1\r\n${close}\r\n`, 404, 'E_NOT_FOUND'],
  ])('%s', async (_, bytes, status, code) => {
    const answer = await sendRaw(bytes)
    expect(answer.head).toMatch(/^content-type: application\/problem\+json$/im)
    const requestId = /^x-request-id: ([0-9a-f]{32})$/im.exec(answer.head)?.[1]
    expect({ ...JSON.parse(answer.body), answered: answer.status }).toEqual({
      type: `${apiSettings.PROBLEM_BASE_URL.parse(undefined)}#${code.toLowerCase()}`,
      title: kitErrors[code as keyof typeof kitErrors]().kind.title,
      status,
      answered: status,
      code,
      requestId,
    })
    expect(seen).toHaveLength(0)
    await vi.waitFor(async () => expect(await logged()).toContainEqual(expect.objectContaining({ requestId, status })))
  })

  it('a body that does not come: closed without an answer, and logged as 408', async () => {
    const answer = await sendRaw(`POST / HTTP/1.1\r\n${close}Content-Length: 100\r\n\r\nonly this`)
    expect(answer.head).toBe('')
    expect(seen).toHaveLength(0)
    await vi.waitFor(async () =>
      expect(await logged()).toContainEqual(expect.objectContaining({ status: 408, path: '/' })),
    )
  })

  it('HTTP/1.0 is served, with a Host or without', async () => {
    for (const host of ['', 'Host: a.example:81\r\n']) {
      expect(await sendRaw(`GET / HTTP/1.0\r\n${host}\r\n`)).toMatchObject({ status: 200, body: 'answered' })
    }
    expect(seen.map(({ headers }) => headers.host)).toEqual(['api', 'a.example:81'])
  })
})
