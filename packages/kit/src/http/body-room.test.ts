import { PassThrough } from 'node:stream'
import { openRaw, type RawConnection } from '@escala/testing/raw'
import express from 'express'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'
import { createLog } from '../log/log.ts'
import { maxRoomBytes, maxRoomBytesPerAddress } from './body-room.ts'
import { mountRoutes } from './mount.ts'
import { problemHandler } from './problem.ts'
import { requestContext } from './request-context.ts'
import { route } from './route.ts'
import { serveApp } from './test-app.ts'

const maxBytes = 1024 * 1024
const options = { summary: 'Take', access: 'public', responses: { 204: { description: 'Taken' } } } as const
const handle = async () => ({ status: 204 as const })
const raw = { raw: { maxBytes, types: ['text/plain'] } }
const routes = [
  route({ ...options, method: 'post', path: '/raw', body: raw, handle }),
  route({
    ...options,
    method: 'post',
    path: '/form',
    body: { form: { maxBytes, fields: z.strictObject({}) } },
    handle,
  }),
  route({ ...options, method: 'post', path: '/private-raw', access: 'user', body: raw, handle }),
  route({
    ...options,
    method: 'post',
    path: '/private',
    access: 'user',
    body: z.strictObject({ a: z.string() }),
    handle,
  }),
]

let release: () => void
const released = new Promise<void>((resolve) => {
  release = resolve
})
let waiting = 0
let port: number
let close: () => void
beforeAll(async () => {
  const log = createLog({ service: 'test', replicaId: 'test', version: '', destination: new PassThrough() })
  const app = express()
  app.set('trust proxy', 1)
  app.use(requestContext({ log, replicaId: 'r', exposeReplica: false, deadlineMs: 30_000 }))
  app.use(async (req, res, next) => {
    if (req.headers['x-wait'] !== undefined) {
      waiting++
      res.once('close', () => waiting--)
      await released
    }
    next()
  })
  mountRoutes(app, routes, { roles: [], hasRole: async () => false })
  app.use(problemHandler)
  ;({ port, close } = await serveApp(app))
})
afterAll(() => close())

const multipart = 'multipart/form-data; boundary=b'
/** Sends a head that promises a body, and `head` may end with one. */
function begin(path: string, address: string, head: string, type = 'text/plain'): RawConnection {
  const connection = openRaw(port)
  connection.write(
    `POST ${path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: ${address}\r\nContent-Type: ${type}\r\n${head}\r\n\r\n`,
  )
  return connection
}
const length = (bytes: number) => `Content-Length: ${bytes}`
const refused = /^HTTP\/1\.1 503 [\s\S]*Retry-After[\s\S]*E_OVERLOADED/i
const accepted = /^HTTP\/1\.1 204 /

test.each([
  ['raw bodies', '/raw', 'text/plain', length(maxBytes)],
  ['raw bodies of unknown length', '/raw', 'text/plain', 'Transfer-Encoding: chunked'],
  ['forms', '/form', multipart, length(maxBytes)],
])(
  '%s take room by their length until they are answered: an address has a quarter of it',
  async (_, path, type, head) => {
    const perAddress = maxRoomBytesPerAddress / maxBytes
    const held = Array.from({ length: perAddress }, () => begin(path, '10.0.0.1', head, type))
    const isRefused = async (address: string) => {
      const connection = begin(path, address, head, type)
      const first = await Promise.race([connection.next(/^HTTP\/1\.1 503 /).then(() => true), wait(300)])
      connection.socket.destroy()
      return first === true
    }
    await expect.poll(() => isRefused('10.0.0.1'), { timeout: 10_000 }).toBe(true)
    await begin(path, '10.0.0.1', head, type).next(refused)
    const small = begin('/raw', '10.0.0.2', `${length(2)}\r\n\r\nok`)
    await small.next(accepted)
    // The whole room.
    for (let other = 3; held.length < maxRoomBytes / maxBytes; other++) {
      for (let at = 0; at < perAddress; at++) held.push(begin(path, `10.0.0.${other}`, head, type))
    }
    await expect.poll(() => isRefused('10.0.0.99'), { timeout: 10_000 }).toBe(true)
    for (const { socket } of held) socket.destroy()
    await expect.poll(() => isRefused('10.0.0.1'), { timeout: 10_000 }).toBe(false)
    await expect.poll(() => isRefused('10.0.0.99'), { timeout: 10_000 }).toBe(false)
    small.socket.destroy()
  },
)

test('clients that leave before their bodies are read take no room with them', async () => {
  const count = maxRoomBytes / maxBytes
  const gone = Array.from({ length: count }, (_, at) =>
    begin('/raw', `10.0.2.${at % 8}`, `X-Wait: 1\r\n${length(maxBytes)}`),
  )
  await expect.poll(() => waiting, { timeout: 10_000 }).toBe(count)
  for (const { socket } of gone) socket.destroy()
  await expect.poll(() => waiting, { timeout: 10_000 }).toBe(0)
  release()
  const small = begin('/raw', '10.0.2.99', `${length(2)}\r\n\r\nok`)
  await small.next(accepted)
  small.socket.destroy()
})

test.each(['/private-raw', '/private'])('the body of a request that may not use %s is not waited for', async (path) => {
  const connection = begin(path, '10.0.1.1', length(1000), path === '/private' ? 'application/json' : 'text/plain')
  await connection.next(/^HTTP\/1\.1 401 /)
  connection.socket.destroy()
})

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
