import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { afterEach, expect, it, vi } from 'vitest'
import { createHttpServer, type HttpServer } from './http-server.ts'

const stops: (() => unknown)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

const errors: Error[] = []
function create(port: number): HttpServer {
  errors.length = 0
  const onListenError = (error: Error) => void errors.push(error)
  const server = createHttpServer((_, res) => void res.end(), { host: '127.0.0.1', port, onListenError })
  stops.push(() => server.stop({ refuseMs: 0, deadlineMs: 0 }))
  return server
}

async function occupy(port: number): Promise<Server> {
  const other = createServer().listen(port, '127.0.0.1')
  await once(other, 'listening')
  stops.push(() => other.close())
  return other
}

async function freePort(): Promise<number> {
  const other = await occupy(0)
  const { port } = other.address() as AddressInfo
  other.close()
  await once(other, 'close')
  return port
}

async function listens(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  const connected = await once(socket, 'connect').then(
    () => true,
    () => false,
  )
  socket.destroy()
  return connected
}

/** A listener that closes accepts first what has already connected. */
const untilClosed = (port: number) => vi.waitFor(async () => expect(await listens(port)).toBe(false))

it('does not start where the port is taken', async () => {
  const port = await freePort()
  await occupy(port)
  const server = create(port)
  await expect(server.start()).rejects.toMatchObject({ code: 'EADDRINUSE' })
})

it('tries again when the port is taken for a moment, and says so once', async () => {
  const server = create(0)
  await server.start()
  const port = server.port()
  server.refuse()
  await untilClosed(port)
  const other = await occupy(port)
  const accepted = server.accept()
  expect(await Promise.race([accepted, wait(700, 'goes on trying')])).toBe('goes on trying')
  expect(errors).toMatchObject([{ code: 'EADDRINUSE' }])
  other.close()
  await accepted
  expect([await listens(port), errors.length]).toEqual([true, 1])
})

it('a refusal before the start is kept until it is taken back', async () => {
  const port = await freePort()
  const other = await occupy(port)
  const server = create(port)
  server.refuse()
  await server.start() // does not even try
  other.close()
  expect(await listens(port)).toBe(false)
  await server.accept()
  expect(await listens(port)).toBe(true)
})

it('accepts nothing before the start', async () => {
  const port = await freePort()
  const server = create(port)
  await server.accept()
  expect(await listens(port)).toBe(false)
})

it.each(['start', 'accept'] as const)('a refusal while `%s` is under way is not lost', async (begin) => {
  const port = await freePort()
  const server = create(port)
  if (begin === 'accept') {
    await server.start()
    server.refuse()
  }
  const begun = server[begin]()
  server.refuse()
  await begun
  await untilClosed(port)
  await server.accept()
  expect(await listens(port)).toBe(true)
})

it.each(['start', 'accept', 'a retry'] as const)(
  'stopped while `%s` is under way, it does not listen',
  async (begin) => {
    const port = await freePort()
    const server = create(port)
    let other: Server | undefined
    if (begin !== 'start') {
      await server.start()
      server.refuse()
      if (begin === 'a retry') {
        await untilClosed(port)
        other = await occupy(port)
      }
    }
    const begun = begin === 'start' ? server.start() : server.accept()
    if (other) await vi.waitFor(() => expect(errors).toHaveLength(1))
    other?.close()
    await server.stop({ refuseMs: 0, deadlineMs: 0 })
    await begun
    expect(await listens(port)).toBe(false)
    await server.accept()
    expect(await listens(port)).toBe(false)
  },
)

it('the last of many changes counts', async () => {
  const port = await freePort()
  const server = create(port)
  await server.start()
  for (let i = 0; i < 50; i++) {
    server.refuse()
    void server.accept()
    if (i % 3 === 0) await new Promise(setImmediate)
  }
  await server.accept()
  expect(await listens(port)).toBe(true)
  for (let i = 0; i < 50; i++) {
    void server.accept()
    server.refuse()
    if (i % 3 === 0) await new Promise(setImmediate)
  }
  await untilClosed(port)
  expect(errors).toEqual([])
})
