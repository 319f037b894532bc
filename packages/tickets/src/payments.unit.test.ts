import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Socket } from 'node:net'
import { expect, test, vi } from 'vitest'
import { createPaymentsCheck } from './payments.ts'

test.each([
  [404, true],
  [400, true],
  [405, true],
  [401, false],
  [429, false],
  [500, false],
])('a provider that answers its check with %i is well: %s', async (status, isWell) => {
  const server = createServer((_req, res) => res.writeHead(status).end()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const check = createPaymentsCheck({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
  expect(
    await check().then(
      () => true,
      () => false,
    ),
  ).toBe(isWell)
  server.closeAllConnections()
  server.close()
})

const head = 'HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n'
const behaviours: [name: string, talk: (socket: Socket, drip: (text: string) => void) => void][] = [
  ['says nothing', () => undefined],
  ['sends endless heads, one line at a time', (socket, drip) => socket.write(head) && drip('X-A: 1\r\n')],
  ['sends a head that is too large', (socket) => void socket.write(`${head}X-A: ${'x'.repeat(100_000)}\r\n\r\n`)],
  ['sends a body one byte at a time', (socket, drip) => socket.write(`${head}\r\n`) && drip('1\r\nx\r\n')],
  [
    'sends a body that is too large',
    (socket) => void socket.write(`${head}\r\n${'400\r\n'.padEnd(1029, 'x')}\r\n`.repeat(9)),
  ],
  [
    'leads to itself',
    (socket) =>
      void socket.write('HTTP/1.1 307 Again\r\nLocation: /\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'),
  ],
]

test.for(behaviours)('a provider that %s is given up in time, and so is its connection', async ([, talk]) => {
  const sockets = new Set<Socket>()
  const server = createTcpServer((socket) => {
    sockets.add(socket)
    const timers: NodeJS.Timeout[] = []
    const drip = (text: string) => void timers.push(setInterval(() => socket.write(text), 20))
    socket
      .on('error', () => undefined)
      .on('close', () => {
        timers.forEach(clearInterval)
        sockets.delete(socket)
      })
    socket.once('data', () => talk(socket, drip))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const check = createPaymentsCheck({ url, timeoutMs: 300, maxBodyBytes: 4096 })
  const startedAt = performance.now()
  await expect(check()).rejects.toThrow()
  expect(performance.now() - startedAt).toBeLessThan(3000)
  await vi.waitFor(() => expect(sockets.size).toBe(0), 3000)
  server.close()
})
