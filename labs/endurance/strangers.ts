import { type Agent, Agent as HttpAgent, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import type { Cluster } from '@escala/testing/cluster'
import type { Begin, Fault } from './fault.ts'

/**
 * Clients that mean harm, or are broken. They come from a few other addresses of this machine; people who share the system with
 * them must not notice. Their numbers are those of one machine with two cores.
 */
export const strangers: Fault[] = [
  { name: 'strangers send bodies slowly', seconds: [2, 8], begin: sockets(150, slowBody) },
  { name: 'strangers connect and stay silent', seconds: [2, 8], begin: sockets(300, () => undefined) },
  { name: 'strangers keep streams open', seconds: [2, 8], begin: sockets(600, openStream) },
  { name: 'strangers try passwords', seconds: [1, 4], begin: requests(20, tryPassword) },
  { name: 'strangers send large heads', seconds: [1, 4], begin: requests(4, sendLargeHead) },
  { name: 'strangers upload what is refused', seconds: [1, 4], begin: requests(4, uploadNonsense) },
  { name: 'strangers ask for the heads of streams', seconds: [1, 4], begin: requests(4, askHead) },
]

const addresses = 4
const addressOf = (index: number) => `127.0.0.${2 + (index % addresses)}`

interface Target {
  host: string
  port: number
  /** Path of a show. */
  path: string
}

async function targetOf({ url }: Cluster): Promise<Target> {
  const { hostname, port } = new URL(url)
  const page = await fetch(`${url}/v1/shows`, { signal: AbortSignal.timeout(5000) }).then(
    (response) => response.json() as Promise<{ items?: { id: string }[] }>,
    () => undefined,
  )
  const id = page?.items?.[0]?.id ?? '00000000-0000-4000-8000-000000000000' // whatever else goes wrong at this moment
  return { host: hostname, port: Number(port), path: `/v1/shows/${id}` }
}

/** Connections that stay; each is closed at the end. */
function sockets(count: number, use: (socket: Socket, target: Target) => (() => void) | undefined): Begin {
  return async (cluster) => {
    const target = await targetOf(cluster)
    const open = Array.from({ length: count }, (_, index) => {
      const socket = connect({ host: target.host, port: target.port, localAddress: addressOf(index) })
      socket.on('error', () => undefined)
      socket.resume()
      return { socket, stop: use(socket, target) }
    })
    return () => {
      for (const { socket, stop } of open) {
        stop?.()
        socket.destroy()
      }
    }
  }
}

/** Requests one after the other on kept connections, `count` at a time. */
function requests(count: number, send: (target: Target, agent: Agent, from: string) => Promise<void>): Begin {
  return async (cluster) => {
    const target = await targetOf(cluster)
    const agent = new HttpAgent({ keepAlive: true })
    let over = false
    const repeat = async (index: number) => {
      while (!over) await send(target, agent, addressOf(index))
    }
    const done = Promise.all(Array.from({ length: count }, (_, index) => repeat(index)))
    return async () => {
      over = true
      agent.destroy()
      await done
    }
  }
}

function slowBody(socket: Socket, { path }: Target) {
  socket.write(`PUT ${path}/poster HTTP/1.1\r\nHost: shop\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\n`)
  const timer = setInterval(() => socket.writable && socket.write('a'), 2000)
  return () => clearInterval(timer)
}

function openStream(socket: Socket, { path }: Target) {
  socket.write(`GET ${path}/live HTTP/1.1\r\nHost: shop\r\n\r\n`)
  return undefined
}

interface Sent {
  method: string
  path: string
  headers?: Record<string, string>
  body?: string | Buffer
}

/** Whatever comes back is as good. */
function send(
  { host, port }: Target,
  agent: Agent,
  localAddress: string,
  { method, path, headers, body }: Sent,
): Promise<void> {
  return new Promise((resolve) => {
    const signal = AbortSignal.timeout(5000)
    const req = request({ host, port, agent, localAddress, method, path, headers, signal }, (res) => {
      res.resume().on('close', resolve)
    })
    req.on('error', () => setTimeout(resolve, 50)) // refused: not in a tight loop
    req.end(body)
  })
}

function tryPassword(target: Target, agent: Agent, from: string) {
  return send(target, agent, from, {
    method: 'POST',
    path: '/v1/session',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ email: `${Math.random()}@example.com`, password: 'a guess' }),
  })
}

function sendLargeHead(target: Target, agent: Agent, from: string) {
  return send(target, agent, from, {
    method: 'GET',
    path: `/docs?${'a'.repeat(5000)}`,
    headers: { cookie: `a=${'b'.repeat(7000)}` },
  })
}

function uploadNonsense(target: Target, agent: Agent, from: string) {
  return send(target, agent, from, {
    method: 'PUT',
    path: `${target.path}/poster`,
    headers: { 'content-type': 'image/png' },
    body: Buffer.alloc(300_000, 'a'),
  })
}

function askHead(target: Target, agent: Agent, from: string) {
  return send(target, agent, from, { method: 'HEAD', path: `${target.path}/live` })
}
