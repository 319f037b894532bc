import { once } from 'node:events'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findBinaries } from '@escala/servers/binaries'
import { type NginxServerOptions, startNginx } from '@escala/servers/nginx'
import { type NginxOptions, renderNginx } from '@escala/servers/nginx-config'
import { afterAll, beforeAll, beforeEach } from 'vitest'

/** Few enough for any machine. */
export const small = { worker_rlimit_nofile: '4000', worker_connections: '1000' }

const types: Record<string, string> = { json: 'application/json', events: 'text/event-stream', image: 'image/png' }

/** `/json/2000` is of that type and size, `/hang` never answers, `/slow` takes 50 ms, `/cut` breaks the connection, `/busy` is a replica's own 503. */
function startReplica(seen: IncomingMessage[]) {
  return createServer((req, res) => {
    seen.push(req)
    if (req.url === '/hang') return
    if (req.url === '/cut') return void req.socket.destroy()
    if (req.url === '/busy') res.statusCode = 503
    const [, type, bytes] = /^\/(json|events|image)\/(\d+)$/.exec(req.url ?? '') ?? []
    if (type)
      return void res
        .writeHead(200, { 'content-type': types[type], etag: '"3-x"', 'content-length': bytes })
        .end('x'.repeat(Number(bytes)))
    req.resume().on('end', () => setTimeout(() => res.end('answered'), req.url === '/slow' ? 50 : 0))
  })
}

/** NGINX before three replicas, for the tests of one file. */
export function createTestNginx() {
  const seen: IncomingMessage[] = []
  let replicas: Server[]
  let addresses: string[]
  let folder: string
  let nginx: Awaited<ReturnType<typeof startNginx>>

  /** Sorts out replicas that count as failed: each test begins with three that NGINX trusts. */
  const fresh = async (replicaAddresses = addresses, options: Partial<NginxServerOptions> = {}) => {
    await nginx?.stop()
    nginx = await startNginx({
      binaries: await findBinaries(),
      dir: folder,
      replicas: replicaAddresses,
      settings: { proxy_read_timeout: '200ms', client_body_timeout: '200ms' },
      ...options,
    })
  }

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'escala-nginx-'))
    await chmod(folder, 0o711)
    replicas = [startReplica(seen), startReplica(seen), startReplica(seen)]
    for (const replica of replicas) await once(replica.listen(0, '127.0.0.1'), 'listening')
    addresses = replicas.map((replica) => `127.0.0.1:${(replica.address() as AddressInfo).port}`)
    await fresh()
  })
  beforeEach(() => {
    seen.length = 0
  })
  afterAll(async () => {
    await nginx?.stop()
    for (const replica of replicas) {
      replica.close()
      replica.closeAllConnections()
    }
    await rm(folder, { recursive: true, force: true })
  })

  return {
    /** What the replicas got. */
    seen,
    fresh,
    addresses: () => addresses,
    folder: () => folder,
    url: () => nginx.url,
    port: () => nginx.port,
    pid: () => nginx.pid,
    send(method: string, path: string, options: RequestInit = {}) {
      const body = method === 'GET' || method === 'HEAD' || method === 'DELETE' ? undefined : 'body'
      return fetch(`${nginx.url}${path}`, { method, body, signal: AbortSignal.timeout(5000), ...options })
    },
    /** Every line of the access log so far. */
    async logged(): Promise<Record<string, unknown>[]> {
      const log = await readFile(join(folder, 'access.log'), 'utf8')
      return log
        .split('\n')
        .filter((line) => line.endsWith('}'))
        .map((line) => JSON.parse(line))
    },
    /** NGINX behind a balancer on this machine, whose X-Forwarded-For and X-Forwarded-Proto it believes. */
    async behindBalancer(options: Pick<NginxOptions, 'connectionsPerAddress'> = {}) {
      const own = fileURLToPath(new URL('balancer.conf', import.meta.url))
      const file = join(folder, 'balancer.conf')
      const named = (await readFile(own, 'utf8'))
        .replace('# set_real_ip_from 10.0.0.0/8', 'set_real_ip_from 127.0.0.0/8')
        .replace('# 10.0.0.0/8 1;', '127.0.0.0/8 1;')
      await writeFile(file, named)
      const upstream = { kind: 'addresses' as const, addresses }
      await fresh(addresses, {
        conf: (listen) =>
          renderNginx({ listen, upstream, tempFolder: folder, settings: small, ...options }).replace(own, file),
      })
    },
  }
}
