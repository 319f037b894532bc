import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { SMTPServer } from 'smtp-server'
import { answer, type ListenOptions, listen, readJson } from './control.ts'

/** One mail as its receiver sees it: SMTP may deliver it more than once, its `Message-ID` says that it is the same. */
export interface Mail {
  messageId: string
  to: string[]
  subject: string
  /** Names in lower case. */
  headers: Record<string, string>
  /** The first 2,000 characters of what follows the headers, as they were sent. */
  text: string
  /** How often it arrived. */
  count: number
}

export interface MailBehaviour {
  /** Between taking a mail and confirming it. */
  latencyMs: number
  /** The next so many mails are refused with 451, which asks the sender to try again. */
  failures: number
  /** Receivers whose address contains one of these get this reply, each time: `{ 'nobody@': 550 }`. */
  refusals: Record<string, number>
}

export interface MailOptions extends ListenOptions {
  /** Of `GET /_mails`. Default: any free port. */
  httpPort?: number
}

export interface MailServer {
  smtpUrl: string
  /** `GET /_mails`, `PUT /_behaviour`. */
  url: string
  /** How many senders are connected. */
  connections(): number
  stop(): Promise<void>
}

const usual: MailBehaviour = { latencyMs: 0, failures: 0, refusals: {} }

/** A fake mail server: SMTP for the sender, HTTP for reading what arrived. It keeps everything in memory. */
export async function startMail(options: MailOptions = {}): Promise<MailServer> {
  const { host = '127.0.0.1', port = 0, httpPort = 0 } = options
  const mails = new Map<string, Mail>()
  let behaviour = usual

  const smtp = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS', 'AUTH'],
    disableReverseLookup: true,
    closeTimeout: 500, // senders keep their connections
    onRcptTo({ address }, _session, done) {
      const refusal = Object.entries(behaviour.refusals).find(([part]) => address.includes(part))
      if (!refusal) return done()
      done(Object.assign(new Error(`no mail for <${address}>`), { responseCode: refusal[1] }))
    },
    async onData(stream, session, done) {
      const message = await readAll(stream)
      if (message === undefined) return done(new Error('the sender is gone'))
      if (behaviour.failures > 0) {
        behaviour = { ...behaviour, failures: behaviour.failures - 1 }
        return done(Object.assign(new Error('Try again later'), { responseCode: 451 }))
      }
      const headers = readHeaders(message)
      const messageId = headers['message-id'] ?? `none-${mails.size}`
      const to = session.envelope.rcptTo.map((recipient) => recipient.address)
      const count = (mails.get(messageId)?.count ?? 0) + 1
      mails.set(messageId, { messageId, to, subject: headers.subject ?? '', headers, text: textOf(message), count })
      if (behaviour.latencyMs > 0) await wait(behaviour.latencyMs)
      done()
    },
  })
  // A sender that is killed within a mail is what labs do; it must not end this process.
  smtp.on('error', () => undefined)
  const server = smtp.listen(port, host)
  await once(server, 'listening')

  const http = await listen(
    async (req, res) => {
      if (req.url === '/livez') return answer(res, 200, { status: 'ok' })
      if (req.url === '/_mails') return answer(res, 200, [...mails.values()])
      if (req.url === '/_behaviour' && req.method === 'PUT') {
        behaviour = { ...usual, ...(await readJson(req)) }
        return answer(res, 200, behaviour)
      }
      answer(res, 404, { error: 'no such route' })
    },
    { host, port: httpPort },
  )
  return {
    smtpUrl: `smtp://${host === '0.0.0.0' ? '127.0.0.1' : host}:${(server.address() as AddressInfo).port}`,
    url: http.url,
    connections: () => smtp.connections.size,
    async stop() {
      await Promise.all([http.stop(), new Promise<void>((resolve) => smtp.close(() => resolve()))])
    },
  }
}

/** `undefined` when the sender ended in the middle of it. */
async function readAll(stream: AsyncIterable<Buffer>): Promise<string | undefined> {
  const chunks: Buffer[] = []
  try {
    for await (const chunk of stream) chunks.push(chunk)
  } catch {
    return undefined
  }
  return Buffer.concat(chunks).toString()
}

function textOf(message: string): string {
  return message
    .split(/\r?\n\r?\n/)
    .slice(1)
    .join('\n\n')
    .slice(0, 2000)
}

function readHeaders(message: string): Record<string, string> {
  const [head = ''] = message.split('\r\n\r\n', 1)
  const lines = head.replace(/\r\n[ \t]+/g, ' ').split('\r\n')
  return Object.fromEntries(
    lines.map((line) => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
    }),
  )
}

export interface MailControl {
  url: string
  mails(): Promise<Mail[]>
  /** What is left out goes back to normal. */
  behave(behaviour: Partial<MailBehaviour>): Promise<void>
}

/** Queries and controls a fake mail server, wherever it runs. */
export function mailControl(url: string): MailControl {
  return {
    url,
    async mails() {
      return (await (await fetch(`${url}/_mails`)).json()) as Mail[]
    },
    async behave(behaviour) {
      await fetch(`${url}/_behaviour`, { method: 'PUT', body: JSON.stringify(behaviour) })
    },
  }
}
