import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createEventStreams } from '@escala/kit/events/sse'
import { openRaw } from '@escala/testing/raw'
import express, { type ErrorRequestHandler } from 'express'
import { afterEach, expect, it } from 'vitest'
import { createTestNginx } from './test-nginx.ts'

const { fresh, port } = createTestNginx()
const stops: (() => void)[] = []
afterEach(() => {
  for (const stop of stops.splice(0)) stop()
})

/** A replica of so many: `/live` is a stream, everything else an ordinary response. Returns its address. */
async function startReplica(replicas: number): Promise<string> {
  const streams = createEventStreams({ draining: new AbortController().signal, share: () => replicas })
  const app = express()
  app.get('/live', (req, res) => void streams.reserve(req, res).open())
  app.get('/', (_req, res) => void res.end('answered'))
  const fail: ErrorRequestHandler = (error, _req, res, _next) => void res.status(error.kind.status).end()
  app.use(fail)
  const server = app.listen(0, '127.0.0.1')
  await once(server, 'listening')
  stops.push(() => {
    server.close()
    server.closeAllConnections()
  })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Resolves with the status; a stream stays open. */
async function get(path: string, localAddress: string): Promise<number> {
  const connection = openRaw(port(), localAddress)
  stops.push(() => connection.socket.destroy())
  connection.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`)
  const [, status] = await connection.next(/^HTTP\/1\.1 (\d+)/, 10_000)
  return Number(status)
}

it.each([1, 3, 5])(
  'with %i replicas, the streams of an address leave it connections for ordinary requests',
  async (replicas) => {
    await fresh(await Promise.all(Array.from({ length: replicas }, () => startReplica(replicas))), { settings: {} })
    let open = 0
    for (let i = 0; i < 600; i += 20) {
      const statuses = await Promise.all(Array.from({ length: 20 }, () => get('/live', '127.0.0.2')))
      open += statuses.filter((status) => status === 200).length
    }
    expect(open).toBeGreaterThanOrEqual(256)
    expect(open).toBeLessThanOrEqual(256 * 1.3 + replicas)
    const ordinary = await Promise.all(Array.from({ length: 100 }, () => get('/', '127.0.0.2')))
    expect(ordinary.filter((status) => status !== 200)).toEqual([])
  },
)
