import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { freePort } from '../local/processes.ts'
import { findBinaries, startNginx } from '../local/servers.ts'

const methods = ['GET', 'HEAD', 'POST', 'PATCH', 'PUT', 'DELETE']
const seen: IncomingMessage[] = []
let replicas: Server[]
let addresses: string[]
let folder: string
let nginx: Awaited<ReturnType<typeof startNginx>>

/** `/hang` never answers, `/cut` breaks the connection, `/busy` is a replica's own 503. */
function startReplica() {
  return createServer((req, res) => {
    seen.push(req)
    if (req.url === '/hang') return
    if (req.url === '/cut') return void req.socket.destroy()
    if (req.url === '/busy') res.statusCode = 503
    req.resume().on('end', () => res.end('answered'))
  })
}

function send(method: string, path: string, options: RequestInit = {}) {
  const body = method === 'GET' || method === 'HEAD' || method === 'DELETE' ? undefined : 'body'
  return fetch(`${nginx.url}${path}`, { method, body, signal: AbortSignal.timeout(5000), ...options })
}

/** Sorts out replicas that count as failed: each test begins with three that NGINX trusts. */
async function freshNginx(replicaAddresses = addresses) {
  await nginx?.stop()
  nginx = await startNginx({
    binaries: await findBinaries(),
    dir: folder,
    replicas: replicaAddresses,
    settings: { proxy_read_timeout: '200ms' },
  })
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'escala-nginx-'))
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

describe('what NGINX passes on', () => {
  it('an id, an address and a protocol of its own making', async () => {
    await freshNginx()
    const forged = { 'x-request-id': 'mine', 'x-forwarded-for': '9.9.9.9', 'x-forwarded-proto': 'https' }
    await send('GET', '/', { headers: { ...forged, forwarded: 'for=9.9.9.9' } })
    const headers = seen[0]?.headers
    expect(headers?.['x-request-id']).toMatch(/^[0-9a-f]{32}$/)
    expect(headers).toMatchObject({ 'x-forwarded-for': '127.0.0.1', 'x-forwarded-proto': 'http' })
    expect(headers).not.toHaveProperty('forwarded')
    expect(headers?.host).toBe(new URL(nginx.url).host)
    await vi.waitFor(async () => {
      const line = JSON.parse((await readFile(join(folder, 'access.log'), 'utf8')).trimEnd().split('\n').at(-1) ?? '')
      expect(line).toMatchObject({ requestId: headers?.['x-request-id'], status: 200, method: 'GET', path: '/' })
    })
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
