import { once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import { PassThrough } from 'node:stream'
import express, { type ErrorRequestHandler, type Response } from 'express'
import { afterEach, expect, test, vi } from 'vitest'
import { createLog } from '../log/log.ts'
import { placesShare } from './places.ts'
import { createEventStreams, type EventStream, type EventStreamsOptions } from './sse.ts'

const log = createLog({ service: 'test', replicaId: 'test', version: '0', destination: new PassThrough() })
const stops: (() => void)[] = []
afterEach(() => {
  for (const stop of stops.splice(0)) stop()
})

async function serve(options: Partial<EventStreamsOptions> = {}, prepare?: (res: Response) => Promise<unknown>) {
  const drain = new AbortController()
  const streams = createEventStreams({ draining: drain.signal, share: () => 1, spreadMs: 50, ...options })
  const opened: EventStream[] = []
  const app = express()
  app.get('/live', async (req, res) => {
    req.log = log
    const place = streams.reserve(req, res)
    await prepare?.(res)
    if (!res.writableEnded) opened.push(place.open())
  })
  const fail: ErrorRequestHandler = (error, _req, res, _next) =>
    void res.status(error.kind.status).set('Retry-After', String(error.retryAfterMs)).end()
  app.use(fail)
  const server = app.listen(0, '127.0.0.1')
  await once(server, 'listening')
  stops.push(
    () => server.closeAllConnections(),
    () => server.close(),
  )
  const { port } = server.address() as AddressInfo
  return { streams, opened, drain, port, get: (headers = {}) => fetch(`http://127.0.0.1:${port}/live`, { headers }) }
}

test('sends events in the form of the standard, with a time to come back after', async () => {
  const { opened, get } = await serve()
  const answer = await get()
  expect(answer.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
  expect(answer.headers.get('x-accel-buffering')).toBe('no')
  opened[0]?.send({ id: '1-0', type: 'availability', data: { available: 3, text: 'a\nb' } })
  opened[0]?.end()
  const [retry, event] = (await answer.text()).split('\n\n')
  expect(Number(retry?.replace('retry: ', ''))).toBeGreaterThanOrEqual(500)
  expect(event).toBe('id: 1-0\nevent: availability\ndata: {"available":3,"text":"a\\nb"}')
})

test('says something from time to time', async () => {
  const { opened, get } = await serve({ heartbeatMs: 20 })
  const answer = await get()
  setTimeout(() => opened[0]?.end(), 200)
  expect(await answer.text()).toContain('\n\n:\n\n:\n\n')
})

test('ends when the replica drains, and at once when it drains already', async () => {
  const { streams, drain, get } = await serve()
  const answer = await get()
  drain.abort()
  await answer.text()
  await vi.waitFor(() => expect(streams.count()).toBe(0))
  await (await get()).text()
})

test('the route that feeds a stream learns that its client has gone', async () => {
  const { opened, streams, get } = await serve()
  const answer = await get()
  await answer.body?.cancel()
  await vi.waitFor(() => expect(opened[0]?.closed.aborted).toBe(true))
  expect(streams.count()).toBe(0)
})

test('a client that does not read is cut off', async () => {
  const { opened, port } = await serve({ maxBufferedBytes: 10_000 })
  const client = connect(port, '127.0.0.1')
  client.write('GET /live HTTP/1.1\r\nHost: x\r\n\r\n')
  client.pause()
  client.on('error', () => {})
  await vi.waitFor(() => expect(opened).toHaveLength(1))
  const data = 'x'.repeat(100_000)
  await vi.waitFor(
    () => {
      opened[0]?.send({ type: 'big', data })
      expect(opened[0]?.closed.aborted).toBe(true)
    },
    { interval: 1, timeout: 5000 },
  )
  client.destroy()
})

test('takes so many, and no more', async () => {
  const { get } = await serve({ maxStreams: 1 })
  await get()
  expect((await get()).status).toBe(503)
})

test('one client gets so many streams, and a place is free again when one ends', async () => {
  const { opened, get, streams } = await serve({ maxStreamsPerClient: 1, clientOf: (req) => req.get('client') ?? '' })
  await get()
  const refused = await get()
  expect([refused.status, Number(refused.headers.get('retry-after'))]).toEqual([429, expect.any(Number)])
  expect((await get({ client: 'other' })).status).toBe(200)
  opened[0]?.end()
  await vi.waitFor(() => expect(streams.count()).toBe(1))
  expect((await get()).status).toBe(200)
})

test('a client gets about as many streams over all replicas as over one', () => {
  const all = (replicas: number) => replicas * placesShare(256, replicas)
  expect(all(1)).toBe(256)
  for (const replicas of [2, 3, 5, 12, 50]) {
    expect(all(replicas)).toBeGreaterThanOrEqual(256 * 1.3)
    expect(all(replicas)).toBeLessThan(256 * 1.3 + replicas)
  }
  expect([placesShare(256, 1000), placesShare(2, 1000)]).toEqual([4, 2]) // the floor
})

test('streams beyond the share end when replicas were added, and their clients connect elsewhere', async () => {
  let replicas = 1
  const { get, streams } = await serve({ maxStreamsPerClient: 12, share: () => replicas, heartbeatMs: 200 })
  await Promise.all(Array.from({ length: 12 }, () => get()))
  expect((await get()).status).toBe(429)
  replicas = 3
  await vi.waitFor(() => expect(streams.count()).toBeLessThanOrEqual(6))
  replicas = 1
  expect((await get()).status).toBe(200)
})

test('a place is taken while its stream is prepared, and free again after an error', async () => {
  const preparing: Response[] = []
  const { get, streams } = await serve({ maxStreamsPerClient: 1 }, async (res) => {
    preparing.push(res)
    await once(res, 'close')
  })
  const first = get()
  await vi.waitFor(() => expect(preparing).toHaveLength(1))
  expect((await get()).status).toBe(429)
  expect(preparing).toHaveLength(1) // nothing was prepared for the one that was refused
  preparing[0]?.status(404).end()
  expect((await first).status).toBe(404)
  const second = get()
  await vi.waitFor(() => expect(preparing).toHaveLength(2))
  preparing[1]?.status(404).end()
  expect((await second).status).toBe(404)
  expect(streams.count()).toBe(0)
})

test('ends when it is old', async () => {
  const { get, streams } = await serve({ maxAgeMs: 50 })
  expect(await (await get()).text()).toMatch(/^retry: /)
  await vi.waitFor(() => expect(streams.count()).toBe(0))
})

test('HEAD gets the head, and a stream that is closed already', async () => {
  const { opened, streams, port } = await serve()
  const answer = await fetch(`http://127.0.0.1:${port}/live`, { method: 'HEAD' })
  expect(answer.headers.get('content-type')).toContain('text/event-stream')
  expect(opened[0]?.closed.aborted).toBe(true)
  expect(streams.count()).toBe(0)
})

test('a client that left before its stream was open leaves nothing behind', async () => {
  const { opened, streams, port } = await serve({}, async (res) => {
    client.destroy()
    await once(res, 'close')
  })
  const client = connect(port, '127.0.0.1')
  client.write('GET /live HTTP/1.1\r\nHost: x\r\n\r\n')
  await vi.waitFor(() => expect(opened).toHaveLength(1))
  expect(opened[0]?.closed.aborted).toBe(true)
  expect(streams.count()).toBe(0)
})
