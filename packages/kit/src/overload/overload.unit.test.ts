import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import express, { type Request } from 'express'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { problemHandler } from '../http/problem.ts'
import { createOverload, essentialRoutes, type Overload } from './overload.ts'

let overload: Overload
let base: string
let close: () => void
let release: (() => void)[] = []
let requests: Request[] = []

beforeEach(async () => {
  overload = createOverload({
    maxInFlight: 5,
    maxDelayMs: 10_000, // a busy machine is late by itself
    essential: (_method, path) => path === '/essential',
  })
  const app = express()
  app.use(overload.middleware)
  app.get('/wait', (req, res) => {
    requests.push(req)
    release.push(() => res.end())
  })
  app.get('/essential', (_req, res) => void res.end())
  app.use(problemHandler)
  const server = app.listen(0)
  await once(server, 'listening')
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  close = () => {
    server.close()
    server.closeAllConnections()
  }
})

afterEach(() => {
  for (const end of release) end()
  release = []
  requests = []
  overload.stop()
  close()
})

const get = (path: string) =>
  fetch(base + path).then(({ status, headers }) => ({ status, retryAfter: headers.get('retry-after') }))

async function fill(count: number) {
  const waiting = Array.from({ length: count }, () => get('/wait'))
  await vi.waitFor(() => expect(overload.state().inFlight).toBe(count))
  return waiting
}

test('one request more than the limit is refused at once, with a time to come back', async () => {
  await fill(5)
  const refused = await get('/wait')
  expect(refused.status).toBe(503)
  expect(Number(refused.retryAfter)).toBeGreaterThanOrEqual(1)
})

test('what is exempt no longer counts, and is not subtracted twice', async () => {
  await fill(5)
  overload.exempt(requests[0] as Request)
  expect(overload.state().inFlight).toBe(4)
  for (const end of release) end()
  await vi.waitFor(() => expect(overload.state().inFlight).toBe(0))
})

test('essential requests are never refused', async () => {
  await fill(5)
  expect((await get('/essential')).status).toBe(200)
})

test('it takes requests again only when there is some room, not at the very edge', async () => {
  await fill(5)
  expect((await get('/wait')).status).toBe(503)
  release.shift()?.()
  await vi.waitFor(() => expect(overload.state().inFlight).toBe(4))
  expect((await get('/wait')).status).toBe(503)
  release.shift()?.()
  await vi.waitFor(() => expect(overload.state().inFlight).toBe(3))
  const taken = get('/wait')
  await vi.waitFor(() => expect(overload.state().inFlight).toBe(4))
  for (const end of release) end()
  expect((await taken).status).toBe(200)
})

test('an event loop that is late refuses, and takes again when it is in time', async () => {
  overload.stop()
  overload = createOverload({ maxInFlight: 5, maxDelayMs: 60, essential: () => false })
  const busy = setInterval(() => {
    const until = Date.now() + 120
    while (Date.now() < until);
  }, 1)
  await vi.waitFor(() => expect(overload.state().shedding).toBe(true), { timeout: 10_000 })
  clearInterval(busy)
  await vi.waitFor(() => expect(overload.state().shedding).toBe(false), { timeout: 15_000 })
}, 30_000)

test('a process that was paused once serves what waited meanwhile', async () => {
  overload.stop()
  overload = createOverload({ maxInFlight: 5, maxDelayMs: 300, sampleMs: 100, essential: () => false })
  const shedding: boolean[] = []
  const looks = setInterval(() => shedding.push(overload.state().shedding), 10)
  const until = Date.now() + 2000
  while (Date.now() < until);
  await vi.waitFor(() => expect(shedding.length).toBeGreaterThan(40), { timeout: 10_000 })
  clearInterval(looks)
  expect(shedding).not.toContain(true)
})

test('routes say themselves that they are essential', () => {
  const route = { summary: '', access: 'public' as const, responses: {}, handle: async () => undefined }
  const essential = essentialRoutes([
    { ...route, method: 'get', path: '/v1/things/:id', essential: true },
    { ...route, method: 'post', path: '/v1/things' },
  ])
  expect(essential('GET', '/v1/things/7')).toBe(true)
  expect(essential('HEAD', '/v1/things/7')).toBe(true)
  expect(essential('GET', '/v1/things/7/more')).toBe(false)
  expect(essential('POST', '/v1/things')).toBe(false)
})
