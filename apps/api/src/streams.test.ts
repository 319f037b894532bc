import { randomUUID } from 'node:crypto'
import { createClient } from '@escala/testing/client'
import { openRaw } from '@escala/testing/raw'
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest'
import type { Api } from './compose.ts'
import { startTestReplica } from './test-replica.ts'

let replica: Api
let show: string
const unknown = '/v1/shows/01990000-0000-7000-8000-00000000ffff'
const sockets: { socket: { destroy(): void } }[] = []

beforeAll(async () => {
  replica = await startTestReplica({
    postgresUrl: inject('postgresUrl'),
    redisUrl: `${inject('redisUrl')}/11`, // a numbered database of its own, since files share limits otherwise
    env: { MAX_IN_FLIGHT: '50', STREAMS_PER_ADDRESS: '256' },
  })
  const { body } = await createClient(`http://127.0.0.1:${replica.port()}`).get('/v1/shows')
  show = `/v1/shows/${body.items[0].id}`
})
afterAll(async () => {
  for (const { socket } of sockets) socket.destroy()
  await replica?.stop()
})

/** Resolves once the stream is open, or with the status of the refusal. */
async function listen(address: string, method = 'GET', path = show) {
  const stream = openRaw(replica.port())
  sockets.push(stream)
  stream.write(`${method} ${path}/live HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: ${address}\r\n\r\n`)
  const [, status] = await stream.next(/^HTTP\/1\.1 (\d+)[\s\S]*?\r\n\r\n/, 15_000)
  return Number(status)
}

async function metric(name: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${replica.internalPort()}/metrics`)).text()
  return Number(new RegExp(`^${name}\\{[^}]*\\} (\\d+)$`, 'm').exec(text)?.[1])
}

test('5,000 idle streams on one replica refuse no ordinary request', async () => {
  const statuses: number[] = []
  for (let i = 0; i < 5000; i += 25) {
    statuses.push(...(await Promise.all(Array.from({ length: 25 }, () => listen(`10.0.0.${1 + Math.floor(i / 250)}`)))))
  }
  expect(statuses.filter((status) => status !== 200)).toEqual([])
  expect(await metric('escala_streams')).toBe(5000)
  await vi.waitFor(async () => expect(await metric('escala_in_flight')).toBe(0))
  expect(await listen('10.0.1.1')).toBe(503) // the bound of the replica
  expect(await listen('10.0.1.1', 'GET', unknown)).toBe(503) // which is asked for before the show

  const client = createClient(`http://127.0.0.1:${replica.port()}`)
  const reads = await Promise.all(Array.from({ length: 40 }, () => client.get(show)))
  expect(reads.filter(({ status }) => status !== 200)).toEqual([])
  const email = `${randomUUID()}@example.com`
  expect((await client.post('/v1/users', { email, password: 'correct horse', name: 'Ann' })).status).toBe(201)
  client.close()
}, 60_000)

test('one address gets so many streams, and others go on getting theirs', async () => {
  for (const { socket } of sockets.splice(0)) socket.destroy()
  await vi.waitFor(async () => expect(await metric('escala_streams')).toBe(0), { timeout: 10_000 })
  const statuses = await Promise.all(Array.from({ length: 300 }, () => listen('192.0.2.1'))) // sheds some: 50 at once
  expect(statuses.filter((status) => status === 200).length).toBeLessThanOrEqual(256)
  let refused = 0
  for (let i = 0; i < 300 && refused < 3; i++) if ((await listen('192.0.2.1')) === 429) refused++
  expect([await metric('escala_streams'), refused]).toEqual([256, 3])
  expect(await listen('192.0.2.1', 'GET', unknown)).toBe(429)
  expect(await listen('192.0.2.2')).toBe(200)
  expect(await listen('192.0.2.2', 'GET', unknown)).toBe(404)
})

test('HEAD is answered at once, and leaves no stream behind', async () => {
  const before = await metric('escala_streams')
  expect(await listen('192.0.2.3', 'HEAD')).toBe(200)
  expect(await metric('escala_streams')).toBe(before)
  const next = openRaw(replica.port())
  sockets.push(next)
  next.write(`HEAD ${show}/live HTTP/1.1\r\nHost: x\r\n\r\nGET ${show} HTTP/1.1\r\nHost: x\r\n\r\n`)
  await next.next(/HTTP\/1\.1 200 [\s\S]*text\/event-stream[\s\S]*HTTP\/1\.1 200 [\s\S]*application\/json/i, 5000)
})
