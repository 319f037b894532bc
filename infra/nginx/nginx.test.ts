import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import { get } from 'node:https'
import { type AddressInfo, connect, createServer as createTcpServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { kitErrors } from '@escala/kit/errors/errors.ts'
import { createEventStreams, type EventStream } from '@escala/kit/events/sse.ts'
import { maxHeadBytes } from '@escala/kit/lifecycle/bounded-response.ts'
import { createHttpServer } from '@escala/kit/lifecycle/http-server.ts'
import { openRaw } from '@escala/testing/raw.ts'
import express from 'express'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { childrenOf } from '../local/nginx-workers.ts'
import { freePort } from '../local/processes.ts'
import { findBinaries, type NginxServerOptions, startNginx } from '../local/servers.ts'
import { renderNginx } from './render.ts'

const methods = ['GET', 'HEAD', 'POST', 'PATCH', 'PUT', 'DELETE']
const seen: IncomingMessage[] = []
let replicas: Server[]
let addresses: string[]
let folder: string
let nginx: Awaited<ReturnType<typeof startNginx>>

/** `/hang` never answers, `/slow` takes 50 ms, `/cut` breaks the connection, `/busy` is a replica's own 503. */
function startReplica() {
  return createServer((req, res) => {
    seen.push(req)
    if (req.url === '/hang') return
    if (req.url === '/cut') return void req.socket.destroy()
    if (req.url === '/busy') res.statusCode = 503
    req.resume().on('end', () => setTimeout(() => res.end('answered'), req.url === '/slow' ? 50 : 0))
  })
}

function send(method: string, path: string, options: RequestInit = {}) {
  const body = method === 'GET' || method === 'HEAD' || method === 'DELETE' ? undefined : 'body'
  return fetch(`${nginx.url}${path}`, { method, body, signal: AbortSignal.timeout(5000), ...options })
}

/** What comes back for bytes that no HTTP client would send. */
function sendRaw(bytes: string): Promise<{ status: number; head: string; body: string }> {
  return new Promise((resolve, reject) => {
    let answer = ''
    const socket = connect(nginx.port, '127.0.0.1', () => socket.write(bytes))
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

const lastLogged = async () =>
  JSON.parse((await readFile(join(folder, 'access.log'), 'utf8')).trimEnd().split('\n').at(-1) ?? '')

/** Sorts out replicas that count as failed: each test begins with three that NGINX trusts. */
async function freshNginx(replicaAddresses = addresses, options: Partial<NginxServerOptions> = {}) {
  await nginx?.stop()
  nginx = await startNginx({
    binaries: await findBinaries(),
    dir: folder,
    replicas: replicaAddresses,
    settings: { proxy_read_timeout: '200ms', client_body_timeout: '200ms' },
    ...options,
  })
}

/** NGINX behind a balancer on this machine, whose X-Forwarded-For and X-Forwarded-Proto it believes. */
async function behindBalancer(
  options: Parameters<typeof renderNginx>[0]['settings'] & object,
  connectionsPerAddress?: number,
) {
  const own = fileURLToPath(new URL('balancer.conf', import.meta.url))
  const file = join(folder, 'balancer.conf')
  const named = (await readFile(own, 'utf8'))
    .replace('# set_real_ip_from 10.0.0.0/8', 'set_real_ip_from 127.0.0.0/8')
    .replace('# 10.0.0.0/8 1;', '127.0.0.0/8 1;')
  await writeFile(file, named)
  await freshNginx(addresses, {
    conf: (listen, list) =>
      renderNginx({
        listen,
        upstream: { kind: 'addresses', addresses: list },
        tempFolder: folder,
        connectionsPerAddress,
        settings: { worker_rlimit_nofile: '4000', worker_connections: '1000', ...options },
      }).replace(own, file),
  })
}

/** A connection that is counted: its head has been read, and its body does not come. */
async function beginUpload(headers = '', localAddress = '127.0.0.1') {
  const connection = openRaw(nginx.port, localAddress)
  connection.write(`POST / HTTP/1.1\r\nHost: x\r\n${headers}Content-Length: 9\r\n\r\n1`)
  open.push(connection.socket)
  return connection
}

const open: { destroy(): void }[] = []

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'escala-nginx-'))
  await chmod(folder, 0o711)
  replicas = [startReplica(), startReplica(), startReplica()]
  for (const replica of replicas) await once(replica.listen(0, '127.0.0.1'), 'listening')
  addresses = replicas.map((replica) => `127.0.0.1:${(replica.address() as AddressInfo).port}`)
  await freshNginx()
})

afterAll(async () => {
  await nginx?.stop()
  for (const replica of replicas) {
    replica.close()
    replica.closeAllConnections()
  }
  await rm(folder, { recursive: true, force: true })
})

beforeEach(() => {
  seen.length = 0
})

afterEach(() => {
  for (const socket of open.splice(0)) socket.destroy()
})

describe('one client cannot take what belongs to all', () => {
  const tooMany = /^HTTP\/1\.1 429 [\s\S]*^retry-after: 1[\s\S]*E_TOO_MANY_CONNECTIONS[^}]*\}/im

  it('an address has so many connections, and others go on', async () => {
    await freshNginx(addresses, { connectionsPerAddress: 20, settings: {} })
    for (let i = 0; i < 20; i++) await beginUpload('', '127.0.0.2')
    await expect
      .poll(async () =>
        (await beginUpload('', '127.0.0.2')).next(tooMany, 500).then(
          () => 429,
          () => 0,
        ),
      )
      .toBe(429)
    await (await beginUpload('', '127.0.0.2')).next(/^content-type: application\/problem\+json/im)
    expect((await send('GET', '/')).status).toBe(200)
    await vi.waitFor(async () => expect(await lastLogged()).toMatchObject({ status: 200, client: '127.0.0.1' }))
  })

  it('of IPv6 a network of 64 bits counts as one client, and a mapped IPv4 address by itself', async () => {
    await behindBalancer({}, 5)
    const from = (address: string) => beginUpload(`X-Forwarded-For: ${address}\r\n`)
    const refuses = async (address: string) =>
      await (await from(address)).next(tooMany, 500).then(
        () => true,
        () => false,
      )
    for (let i = 1; i <= 5; i++) await from(`2001:db8:1:2::${i}`)
    await expect.poll(() => refuses('2001:db8:1:2:ffff:1:2:3')).toBe(true)
    expect(await refuses('2001:db8:1:3::1')).toBe(false)
    for (let i = 1; i <= 5; i++) await from('::ffff:192.0.2.1')
    await expect.poll(() => refuses('192.0.2.1')).toBe(true)
    expect(await refuses('::ffff:192.0.2.2')).toBe(false)
  })

  it('500 silent and 500 slow connections from 10 addresses hurt nobody', async () => {
    await freshNginx(addresses, { settings: {} })
    const all = Array.from({ length: 1000 }, async (_, i) => {
      const address = `127.0.1.${1 + (i % 10)}`
      if (i < 500) return await beginUpload('', address)
      const silent = openRaw(nginx.port, address)
      open.push(silent.socket)
      return await once(silent.socket, 'connect')
    })
    await Promise.all(all)
    const others = await Promise.all(Array.from({ length: 60 }, () => send('POST', '/')))
    expect(others.map(({ status }) => status)).toEqual(Array(60).fill(200))
  })
})

describe.runIf(process.getuid?.() === 0)('started by root', () => {
  it('no worker is root', async () => {
    const workers = [...(await childrenOf(nginx.pid)).keys()]
    expect(workers.length).toBeGreaterThan(0)
    for (const pid of workers) {
      expect(/^Uid:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]).not.toBe('0')
    }
  })
})

describe('streams', () => {
  it('live through NGINX whatever their path, and each event arrives at once', async () => {
    const streams = createEventStreams({ draining: new AbortController().signal, heartbeatMs: 100 })
    const app = express()
    const opened: EventStream[] = []
    app.get('/any/path', (req, res) => void opened.push(streams.open(req, res)))
    const server = app.listen(0, '127.0.0.1')
    await once(server, 'listening')
    await freshNginx([`127.0.0.1:${(server.address() as AddressInfo).port}`], {
      settings: { proxy_read_timeout: '2s' },
    })
    const connection = openRaw(nginx.port)
    open.push(connection.socket)
    connection.write('GET /any/path HTTP/1.1\r\nHost: x\r\n\r\n')
    await connection.next(/^HTTP\/1\.1 200 [\s\S]*retry: /)
    for (let beats = 0; beats < 30; beats++) await connection.next(/\n:\n/) // for longer than that
    opened[0]?.send({ type: 'news', data: 1 })
    await connection.next(/event: news/)
    const head = await send('HEAD', '/any/path')
    expect(head.status).toBe(200)
    connection.socket.destroy()
    server.close()
    server.closeAllConnections()
    await freshNginx()
  })
})

describe('over HTTPS, as a balancer in front says', () => {
  it('every response says that the next one has to be, NGINX’s own errors too', async () => {
    await behindBalancer({})
    const hsts = async (path: string, headers: Record<string, string>) =>
      (await send('GET', path, { headers })).headers.get('strict-transport-security')
    for (const path of ['/', '/livez']) {
      expect(await hsts(path, { 'x-forwarded-proto': 'https' })).toBe('max-age=63072000')
      expect(await hsts(path, { 'x-forwarded-proto': 'http' })).toBeNull()
    }
    await freshNginx()
  })
})

const openssl = spawnSync('openssl', ['version']).status === 0

describe.runIf(openssl)('tls.conf.example', () => {
  it('ends HTTPS, and redirects to its own name only', async () => {
    const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')]
    const made = [
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-subj',
      '/CN=api.example.com',
    ]
    expect(spawnSync('openssl', ['req', ...made, '-days', '1', '-keyout', key, '-out', certificate]).status).toBe(0)
    const [plain, tls] = [await freePort(), await freePort()]
    const example = (await readFile(new URL('tls.conf.example', import.meta.url), 'utf8'))
      .replace('listen 80;', `listen 127.0.0.1:${plain};`)
      .replace('listen 443 ssl;', `listen 127.0.0.1:${tls} ssl;`)
      .replace(/^ *http2 on;.*/m, '') // NGINX 1.25.1
      .replace('/etc/nginx/tls/fullchain.pem', certificate)
      .replace('/etc/nginx/tls/privkey.pem', key)
    const [, redirect = '', own = ''] = /^(server \{[\s\S]*?^\})\s+^server \{\n([\s\S]*?)^\}/m.exec(example) ?? []
    await freshNginx(addresses, {
      conf: (listen, list) =>
        renderNginx({
          listen,
          upstream: { kind: 'addresses', addresses: list },
          tempFolder: folder,
          settings: { worker_rlimit_nofile: '4000', worker_connections: '1000' },
        }).replace('  server {\n', `${redirect}\n  server {\n${own}\n`),
    })
    const asked = openRaw(plain)
    asked.write('POST /v1/a?b=c HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n')
    await asked.next(/^HTTP\/1\.1 308 [\s\S]*^location: https:\/\/api\.example\.com\/v1\/a\?b=c\r$/im)
    for (const path of ['/', '/livez']) {
      const [response] = await once(
        get({ host: '127.0.0.1', port: tls, path, rejectUnauthorized: false, agent: false }),
        'response',
      )
      expect(response.resume().headers['strict-transport-security']).toBe('max-age=63072000')
    }
    expect(seen[0]?.headers['x-forwarded-proto']).toBe('https')
    await freshNginx()
  })
})

describe('the access log', () => {
  it.each([
    ['an escape that is no UTF-8', 'GET /a%ff%22 HTTP/1.1', '/a...'],
    ['bytes that are no UTF-8', 'GET /b\xff\xfe HTTP/1.1', '/b...'],
    ['half a character', 'GET /c%c3 HTTP/1.1', '/c...'],
    ['a surrogate', 'GET /d%ed%a0%80 HTTP/1.1', '/d...'],
    ['another alphabet', 'GET /e%c3%a9%e2%82%ac%f0%9f%98%80 HTTP/1.1', '/eé€😀'],
    ['quotes and controls', 'GET /f%22%5c%0a%01 HTTP/1.1', '/f"\\\n\u0001'],
    ['HTTP/0.9', 'GET /g', '/g'],
  ])('is JSON and UTF-8 after %s', async (_what, line, path) => {
    const connection = openRaw(nginx.port)
    connection.write(Buffer.from(`${line}\r\nHost: x\r\nConnection: close\r\n\r\n`, 'latin1'))
    await once(connection.socket, 'close')
    await vi.waitFor(async () => {
      const log = new TextDecoder('utf-8', { fatal: true }).decode(await readFile(join(folder, 'access.log')))
      expect(
        log
          .trimEnd()
          .split('\n')
          .map((entry) => JSON.parse(entry).path),
      ).toContain(path)
    })
  })
})

describe('what NGINX repeats', () => {
  it.each(methods)('%s goes on to the next replica when one refuses the connection', async (method) => {
    const gone = await Promise.all([freePort(), freePort()])
    await freshNginx([...gone.map((port) => `127.0.0.1:${port}`), addresses[0] as string])
    const answers = await Promise.all(Array.from({ length: 6 }, () => send(method, '/')))
    expect(answers.map(({ status }) => status)).toEqual(Array(6).fill(200))
    expect(seen).toHaveLength(6)
  })

  it.each(methods)('%s that a replica took runs at most as often as it may', async (method) => {
    const runs = method === 'GET' || method === 'HEAD' ? 2 : 1
    await freshNginx()
    const late = await send(method, '/hang')
    expect([late.status, late.headers.get('content-type')]).toEqual([504, 'application/problem+json'])
    expect(seen).toHaveLength(runs)
    await freshNginx()
    seen.length = 0
    expect((await send(method, '/cut')).status).toBe(502)
    expect(seen).toHaveLength(runs)
  })

  it("a replica's own 503 reaches the client, and the replica is not given up", async () => {
    await freshNginx()
    for (let index = 0; index < 6; index++) expect((await send('GET', '/busy')).status).toBe(503)
    expect(seen).toHaveLength(6)
    expect((await send('GET', '/')).status).toBe(200)
  })

  it.each(methods)('%s is answered with E_NO_REPLICA when nobody listens', async (method) => {
    await freshNginx([`127.0.0.1:${await freePort()}`])
    const answer = await send(method, '/')
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1'])
    if (method !== 'HEAD') expect(await answer.json()).toMatchObject({ status: 503, code: 'E_NO_REPLICA' })
  })
})

it('a replica that hangs fails no read, though it is left alone only after three failures', async () => {
  const hung = createTcpServer(() => undefined)
  await once(hung.listen(0, '127.0.0.1'), 'listening')
  await freshNginx([`127.0.0.1:${(hung.address() as AddressInfo).port}`, ...addresses.slice(0, 2)], {
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
  await freshNginx()
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
    await freshNginx(servers.map((server) => `127.0.0.1:${server.port()}`))
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
    await freshNginx([`127.0.0.1:${server.port()}`])
    expect((await send('GET', '/')).status).toBe(200)
    await server.stop({ refuseMs: 0, deadlineMs: 0 })
    await freshNginx()
  })
})

describe('what NGINX passes on', () => {
  it('an id, an address and a protocol of its own making', async () => {
    await freshNginx()
    const forged = { 'x-request-id': 'mine', 'x-forwarded-for': '9.9.9.9', 'x-forwarded-proto': 'https' }
    const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
    await send('GET', '/', { headers: { ...forged, traceparent, forwarded: 'for=9.9.9.9' } })
    const headers = seen[0]?.headers
    expect(headers?.['x-request-id']).toMatch(/^[0-9a-f]{32}$/)
    const id = String(headers?.['x-request-id'])
    expect(headers?.traceparent).toBe(`00-${id}-${id.slice(0, 16)}-01`)
    expect(headers).toMatchObject({ 'x-forwarded-for': '127.0.0.1', 'x-forwarded-proto': 'http' })
    expect(headers).not.toHaveProperty('forwarded')
    expect(headers?.host).toBe(new URL(nginx.url).host)
    await vi.waitFor(async () => {
      expect(await lastLogged()).toMatchObject({
        requestId: headers?.['x-request-id'],
        status: 200,
        method: 'GET',
        path: '/',
      })
    })
  })

  it.each([
    ['192.0.2.9:4711', '192.0.2.9'],
    ['[2001:db8::9]:4711', '2001:db8::9'],
  ])('of %s, which a balancer in front has sent, the address without the port', async (forwarded, address) => {
    await behindBalancer({})
    await send('GET', '/', { headers: { 'x-forwarded-for': forwarded } })
    expect(seen[0]?.headers['x-forwarded-for']).toBe(address)
    await freshNginx()
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
      type: `https://github.com/escala/escala/blob/main/docs/errors.md#${code.toLowerCase()}`,
      title: kitErrors[code as keyof typeof kitErrors]().kind.title,
      status,
      answered: status,
      code,
      requestId,
    })
    expect(seen).toHaveLength(0)
    await vi.waitFor(async () => expect(await lastLogged()).toMatchObject({ requestId, status }))
  })

  it('a body that does not come: closed without an answer, and logged as 408', async () => {
    const answer = await sendRaw(`POST / HTTP/1.1\r\n${close}Content-Length: 100\r\n\r\nonly this`)
    expect(answer.head).toBe('')
    expect(seen).toHaveLength(0)
    await vi.waitFor(async () => expect(await lastLogged()).toMatchObject({ status: 408, path: '/' }))
  })

  it('HTTP/1.0 is served, with a Host or without', async () => {
    for (const host of ['', 'Host: a.example:81\r\n']) {
      expect(await sendRaw(`GET / HTTP/1.0\r\n${host}\r\n`)).toMatchObject({ status: 200, body: 'answered' })
    }
    expect(seen.map(({ headers }) => headers.host)).toEqual(['api', 'a.example:81'])
  })
})
