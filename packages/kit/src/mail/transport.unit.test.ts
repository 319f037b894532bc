import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { describe, expect, test, vi } from 'vitest'
import { createMailTransport } from './transport.ts'

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

  /** Takes mails over the connections that it is asked for; `taken` are their `Message-ID`s, by the number of the connection. */
  async function serveMails(
    onTestFinished: (clean: () => void) => void,
    onMail: (socket: Socket, mails: number) => void = () => undefined,
  ) {
    const taken: [connection: number, messageId: string][] = []
    let connections = 0
    /** Those that the client has not closed. */
    const open = new Set<Socket>()
    const { host, sockets } = await serve((socket) => {
      const connection = ++connections
      open.add(socket)
      for (const event of ['end', 'close']) socket.on(event, () => open.delete(socket))
      let text = ''
      let inMail = false
      let mails = 0
      socket.write('220 hello\r\n')
      socket.on('data', (data) => {
        text += data
        for (let end = text.indexOf('\r\n'); end >= 0; end = text.indexOf('\r\n')) {
          const line = text.slice(0, end)
          text = text.slice(end + 2)
          if (inMail) {
            if (line.startsWith('Message-ID: ')) taken.push([connection, line.slice(12)])
            if (line !== '.') continue
            inMail = false
            socket.write('250 taken\r\n', () => onMail(socket, ++mails))
          } else if (line === 'DATA') {
            inMail = true
            socket.write('354 go on\r\n')
          } else socket.write('250 ok\r\n')
        }
      })
    }, onTestFinished)
    return { host, sockets, open, taken, connections: () => connections }
  }
  const numbered = (n: number) => ({ ...mail, messageId: `<${n}@example.com>` })

  test('mails one after the other share a connection, which is closed when it is not used', async ({
    onTestFinished,
  }) => {
    const { host, sockets, taken } = await serveMails(onTestFinished)
    const transport = createMailTransport({ smtpUrl: `smtp://${host}`, timeoutMs: 1000 })
    for (const n of [1, 2, 3]) await transport.send(numbered(n), never)
    expect(taken).toEqual([
      [1, '<1@example.com>'],
      [1, '<2@example.com>'],
      [1, '<3@example.com>'],
    ])
    expect(sockets.size).toBe(1)
    await vi.waitFor(() => expect(sockets.size).toBe(0), 3000)
    await transport.send(numbered(4), never)
    expect(taken.at(-1)).toEqual([2, '<4@example.com>'])
    transport.stop()
  })

  test.for<[string, (socket: Socket) => void]>([
    ['closes it', (socket) => socket.end()],
    ['resets it', (socket) => socket.resetAndDestroy()],
    ['says goodbye', (socket) => socket.end('421 goodbye\r\n')],
    ['says goodbye and does not close it', (socket) => socket.write('421 goodbye\r\n')],
  ])(
    'no mail is lost, doubled or failed by a server that %s after each mail',
    async ([, close], { onTestFinished }) => {
      const { host, taken, connections } = await serveMails(onTestFinished, close)
      const transport = createMailTransport({ smtpUrl: `smtp://${host}`, timeoutMs: 2000, connections: 2 })
      const all = Array.from({ length: 6 }, (_, n) => n)
      // In threes: two connections, so that a mail meets one that is just being closed.
      for (const first of [0, 3])
        await Promise.all(all.slice(first, first + 3).map((n) => transport.send(numbered(n), never)))
      expect(taken.map(([, messageId]) => messageId).sort()).toEqual(all.map((n) => `<${n}@example.com>`))
      expect(connections()).toBe(6)
      transport.stop()
    },
  )

  test('a connection that hangs at the next mail costs that mail its time, and no other', async ({
    onTestFinished,
  }) => {
    const { host, sockets, taken } = await serveMails(onTestFinished, (socket) => socket.removeAllListeners('data'))
    // The time that the second mail loses; so far from what a mail takes that a busy machine loses none of the others.
    const transport = createMailTransport({ smtpUrl: `smtp://${host}`, timeoutMs: 2000, totalMs: 20_000 })
    await transport.send(numbered(1), never)
    // Of it nothing was sent, so it goes over another connection.
    await transport.send(numbered(2), never)
    expect(taken.map(([, messageId]) => messageId)).toEqual(['<1@example.com>', '<2@example.com>'])
    transport.stop()
    await vi.waitFor(() => expect(sockets.size).toBe(0), 3000)
  })

  test('a server that closes each connection at once is given up after one more than may be kept', async ({
    onTestFinished,
  }) => {
    let connections = 0
    const { host, sockets } = await serve((socket) => {
      connections++
      socket.destroy()
    }, onTestFinished)
    const transport = createMailTransport({ smtpUrl: `smtp://${host}`, connections: 4 })
    await expectEnd(transport.send(mail, never), sockets)
    expect(connections).toBe(5)
  })

  test('there are only so many connections, and each takes only so many mails', async ({ onTestFinished }) => {
    const { host, open, taken, connections } = await serveMails(onTestFinished)
    const transport = createMailTransport({ smtpUrl: `smtp://${host}`, connections: 3 })
    let most = 0
    const send = async (n: number) => {
      await transport.send(numbered(n), never)
      most = Math.max(most, open.size)
    }
    await Promise.all(Array.from({ length: 310 }, (_, n) => send(n)))
    expect(most).toBe(3)
    expect(connections()).toBeGreaterThanOrEqual(4)
    expect(new Set(taken.map(([, messageId]) => messageId)).size).toBe(310)
    expect(taken).toHaveLength(310)
    transport.stop()
  })

  test('`stop` closes what is idle and what is not', async ({ onTestFinished }) => {
    const { host, sockets } = await serveMails(onTestFinished)
    const idle = createMailTransport({ smtpUrl: `smtp://${host}` })
    await idle.send(mail, never)
    idle.stop()
    await vi.waitFor(() => expect(sockets.size).toBe(0), 3000)
    const silent = await serve(() => undefined, onTestFinished)
    const busy = createMailTransport({ smtpUrl: `smtp://${silent.host}` })
    const sending = busy.send(mail, never)
    await vi.waitFor(() => expect(silent.sockets.size).toBe(1), 3000)
    busy.stop()
    await expectEnd(sending, silent.sockets)
  })

  test('a server that answers all but QUIT is well, and does not keep the connection', async ({ onTestFinished }) => {
    const { host, sockets } = await serve(
      converse('QUIT', (socket) => drip(socket, '221-')),
      onTestFinished,
    )
    await createMailTransport({ smtpUrl: `smtp://${host}` }).check()
    await vi.waitFor(() => expect(sockets.size).toBe(0), 4000) // far less than a check may take in all
  })
})
