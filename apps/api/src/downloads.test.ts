import type { IncomingMessage, ServerResponse } from 'node:http'
import { openRaw } from '@escala/testing/raw'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import type { Api } from './compose.ts'
import { startTestReplica } from './test-replica.ts'

let replica: Api
const sockets: { destroy(): void }[] = []
beforeAll(async () => {
  replica = await startTestReplica({
    postgresUrl: inject('postgresUrl'),
    redisUrl: `${inject('redisUrl')}/12`,
    env: { MAX_IN_FLIGHT: '20' },
    parts: { listener: (app) => (req, res) => app(req, isLarge(req) ? unread(res) : res) },
  })
})
afterAll(async () => {
  for (const socket of sockets) socket.destroy()
  await replica?.stop()
})

const large = '/docs/swagger-ui-bundle.js'
const isLarge = ({ url }: IncomingMessage) => url === large

/** As for a client that does not read, whatever the buffers of the kernel take in: there is never room for more. */
function unread(res: ServerResponse): ServerResponse {
  const write = res.write.bind(res) as (chunk: unknown) => boolean
  res.write = (chunk: unknown) => {
    write(chunk)
    return false
  }
  return res
}

/** Resolves with the status. */
async function get(path: string, address: string): Promise<number> {
  const connection = openRaw(replica.port())
  sockets.push(connection.socket)
  connection.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: ${address}\r\n\r\n`)
  const [, status] = await connection.next(/^HTTP\/1\.1 (\d+)/, 10_000)
  return Number(status)
}

test('a client that does not read its large files gets a limited number, and holds up no other client', async () => {
  const statuses: number[] = []
  for (let i = 0; i < 60; i++) statuses.push(await get(large, '10.0.0.1'))
  expect(statuses).toEqual([...Array(32).fill(200), ...Array(28).fill(429)])
  expect(await get(large, '10.0.0.2')).toBe(200)
  // sample
  const poster = '/v1/shows/01990000-0000-7000-8000-00000000ffff/poster'
  expect([await get(poster, '10.0.0.1'), await get(poster, '10.0.0.2')]).toEqual([429, 404])
  // /sample
  expect(await get('/v1/openapi.json', '10.0.0.1')).toBe(200) // none of them counts as work: 20 would be all that this replica takes
})

test('NGINX keeps none of them in a file', async () => {
  const answer = await fetch(`http://127.0.0.1:${replica.port()}/docs/`)
  expect([answer.status, answer.headers.get('x-accel-buffering')]).toEqual([200, 'no'])
})
