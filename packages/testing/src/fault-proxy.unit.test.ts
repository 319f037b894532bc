import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type FaultProxy, startFaultProxy } from './fault-proxy.ts'

let server: Server
let proxy: FaultProxy
let received: string
const sockets: Socket[] = []

// A server that counts what it gets and answers it in capitals.
beforeEach(async () => {
  received = ''
  server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.on('data', (chunk) => {
      received += chunk
      socket.write(chunk.toString().toUpperCase())
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  proxy = await startFaultProxy({ target: `redis://user:pw@127.0.0.1:${(server.address() as AddressInfo).port}/3` })
})
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  await proxy.stop()
  server.close()
})

async function open() {
  const socket = connect(proxy.port, '127.0.0.1')
  sockets.push(socket)
  const seen = { socket, text: '', end: undefined as string | undefined }
  socket.on('data', (chunk) => (seen.text += chunk))
  socket.on('error', (error: NodeJS.ErrnoException) => (seen.end = error.code))
  socket.on('close', () => (seen.end ??= 'closed'))
  await new Promise<void>((resolve) => socket.once('connect', () => resolve()).once('close', () => resolve()))
  return seen
}

test('bytes pass both ways, and the address keeps its credentials and path', async () => {
  expect(proxy.url).toBe(`redis://user:pw@127.0.0.1:${proxy.port}/3`)
  const client = await open()
  client.socket.write('hello')
  await vi.waitFor(() => expect(client.text).toBe('HELLO'))
})

test('refuse: what is open is cut, what is new is refused, until healed', async () => {
  const before = await open()
  await proxy.refuse()
  await vi.waitFor(() => expect(before.end).toBeDefined())
  expect((await open()).end).toBe('ECONNREFUSED')
  await proxy.heal()
  const after = await open()
  after.socket.write('again')
  await vi.waitFor(() => expect(after.text).toBe('AGAIN'))
})

test('hang: connections stay open and nothing passes; healed, those that lost bytes stay silent, and new ones work', async () => {
  const before = await open()
  before.socket.write('a')
  await vi.waitFor(() => expect(before.text).toBe('A'))
  proxy.hang()
  before.socket.write('b')
  const during = await open()
  during.socket.write('c')
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect([received, before.text, before.end, during.end]).toEqual(['a', 'A', undefined, undefined])
  await proxy.heal()
  const after = await open()
  before.socket.write('d')
  after.socket.write('e')
  await vi.waitFor(() => expect(after.text).toBe('E'))
  expect([received, before.text, before.end, during.end]).toEqual(['ae', 'A', undefined, undefined])
})

test('silence: what is open never hears anything again, healed or not; what is new works', async () => {
  const before = await open()
  before.socket.write('a')
  await vi.waitFor(() => expect(before.text).toBe('A'))
  proxy.silence()
  before.socket.write('b')
  const during = await open()
  during.socket.write('c')
  await vi.waitFor(() => expect(during.text).toBe('C'))
  await proxy.heal()
  before.socket.write('d')
  during.socket.write('e')
  await vi.waitFor(() => expect(during.text).toBe('CE'))
  expect([received, before.text, before.end, during.end]).toEqual(['ace', 'A', undefined, undefined])
})

test('silence: the end of a connection does not get through either', async () => {
  const ends: string[] = []
  server.on('connection', (socket) => socket.on('close', () => ends.push('server')))
  const first = await open()
  proxy.silence()
  first.socket.destroy()
  const second = await open()
  second.socket.write('x')
  await vi.waitFor(() => expect(second.text).toBe('X'))
  expect(ends).toEqual([])
  await proxy.stop() // cuts the silent ones too
  await vi.waitFor(() => expect(ends).toHaveLength(2))
})

test('bury: silenced connections end at the server, and their clients hear nothing of it', async () => {
  const ends: string[] = []
  server.on('connection', (socket) => socket.on('close', () => ends.push('server')))
  const clients = [await open(), await open()]
  await vi.waitFor(async () => expect(await connections()).toBe(2))
  proxy.silence()
  const fresh = await open()
  proxy.bury()
  await vi.waitFor(() => expect(ends).toHaveLength(2))
  fresh.socket.write('x')
  await vi.waitFor(() => expect(fresh.text).toBe('X'))
  expect(clients.map(({ end }) => end)).toEqual([undefined, undefined])
})

const connections = () => new Promise<number>((resolve) => server.getConnections((_, count) => resolve(count)))

test('reset: both old and new connections end in a reset', async () => {
  const before = await open()
  proxy.reset()
  await vi.waitFor(() => expect(before.end).toBe('ECONNRESET'))
  const during = await open()
  await vi.waitFor(() => expect(during.end).toBeDefined())
  expect(during.text).toBe('')
})

test('delay: bytes arrive late and in order', async () => {
  proxy.delay(60)
  const client = await open()
  const startedAt = performance.now()
  for (const letter of 'abcdef') client.socket.write(letter)
  await vi.waitFor(() => expect(client.text).toBe('ABCDEF'))
  expect(performance.now() - startedAt).toBeGreaterThan(115)
})

test('dropNextReply: the server has acted, the client never hears of it, the next one does', async () => {
  const first = await open()
  proxy.dropNextReply()
  first.socket.write('increment')
  await vi.waitFor(() => expect(first.end).toBe('closed'))
  expect([received, first.text]).toEqual(['increment', ''])
  const second = await open()
  second.socket.write('get')
  await vi.waitFor(() => expect(second.text).toBe('GET'))
})
