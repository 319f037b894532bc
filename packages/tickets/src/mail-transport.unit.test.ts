import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { describe, expect, test, vi } from 'vitest'
import { createMailTransport } from './mail-transport.ts'

/** A mail server that says whatever `talk` writes. */
async function serve(talk: (socket: Socket) => void, onTestFinished: (clean: () => void) => void) {
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined).on('close', () => sockets.delete(socket))
    // A connection that is only half closed stays open for as long as its client lets it.
    socket.resume().on('end', () => drip(socket, '.'))
    talk(socket)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { host: `127.0.0.1:${(server.address() as AddressInfo).port}`, sockets }
}

/** Writes `text` again and again, more often than the time-out for silence. */
function drip(socket: Socket, text: string, everyMs = 20) {
  const timer = setInterval(() => socket.write(text), everyMs)
  socket.on('close', () => clearInterval(timer))
}

/** Replies to each command, until the one that begins with `last`: then `end` goes on. */
function converse(last: string, end: (socket: Socket) => void, ehlo = '250 hello\r\n') {
  return (socket: Socket) => {
    socket.write('220 hello\r\n')
    socket.on('data', (data) => {
      const command = data.toString()
      if (command.startsWith(last)) end(socket)
      else if (command.startsWith('EHLO')) socket.write(ehlo)
      else if (command.startsWith('DATA')) socket.write('354 go on\r\n')
      else if (/^(MAIL|RCPT|STARTTLS)/.test(command)) socket.write('250 ok\r\n')
    })
  }
}

const behaviours: [name: string, protocol: string, talk: (socket: Socket) => void][] = [
  ['says nothing', 'smtp', () => undefined],
  ['greets with one byte at a time', 'smtp', (socket) => drip(socket, '2')],
  ['greets with endless lines', 'smtp', (socket) => drip(socket, '220-hello\r\n')],
  ['greets with one endless line', 'smtp', (socket) => drip(socket, 'x'.repeat(50_000), 1)],
  ['begins no TLS', 'smtps', () => undefined],
  ['begins TLS with one byte at a time', 'smtps', (socket) => drip(socket, '\x16')],
  ['never ends its answer to EHLO', 'smtp', converse('EHLO', (socket) => drip(socket, '250-SIZE 1\r\n'))],
  [
    'offers STARTTLS and begins none',
    'smtp',
    converse('STARTTLS', (socket) => socket.write('220 go on\r\n'), '250 STARTTLS\r\n'),
  ],
]
const limits = { timeoutMs: 100, totalMs: 400 }
const mail = { from: 'a@example.com', to: 'b@example.com', text: 'hello', messageId: '<1@example.com>' }
const never = new AbortController().signal

async function expectEnd(work: Promise<unknown>, sockets: Set<Socket>) {
  const startedAt = performance.now()
  await expect(work).rejects.toThrow()
  expect(performance.now() - startedAt).toBeLessThan(3000)
  await vi.waitFor(() => expect(sockets.size).toBe(0), 3000)
}

describe.concurrent('the mail transport', () => {
  test.for(behaviours)(
    'a server that %s is given up in time, and so is its connection',
    async ([, protocol, talk], { onTestFinished }) => {
      const { host, sockets } = await serve(talk, onTestFinished)
      const transport = createMailTransport({ smtpUrl: `${protocol}://${host}`, ...limits })
      await Promise.all([expectEnd(transport.check(), sockets), expectEnd(transport.send(mail, never), sockets)])
    },
  )

  test.for([
    ['MAIL', '250-ok\r\n'],
    ['RCPT', '250-ok\r\n'],
    ['DATA', '354-'],
  ])('a server that never ends its answer to %s is given up in time', async ([command, text], { onTestFinished }) => {
    const { host, sockets } = await serve(
      converse(command as string, (socket) => drip(socket, text as string)),
      onTestFinished,
    )
    await expectEnd(createMailTransport({ smtpUrl: `smtp://${host}`, ...limits }).send(mail, never), sockets)
  })

  test('a mail ends when its worker stops', async ({ onTestFinished }) => {
    const { host, sockets } = await serve(() => undefined, onTestFinished)
    const transport = createMailTransport({ smtpUrl: `smtp://${host}` })
    await expectEnd(transport.send(mail, AbortSignal.timeout(100)), sockets)
  })

  test('a server that answers all but QUIT is well, and does not keep the connection', async ({ onTestFinished }) => {
    const { host, sockets } = await serve(
      converse('QUIT', (socket) => drip(socket, '221-')),
      onTestFinished,
    )
    await createMailTransport({ smtpUrl: `smtp://${host}`, ...limits }).check()
    await vi.waitFor(() => expect(sockets.size).toBe(0), 3000)
  })
})
