import { Socket } from 'node:net'
import { createTransport } from 'nodemailer'
import type Mail from 'nodemailer/lib/mailer'

export interface MailTransportOptions {
  smtpUrl: string
  /** Longest silence of the mail server, and longest wait for its name, its connection and its greeting. */
  timeoutMs?: number
  /** Longest time for one mail in all: a server that says a little every few seconds is never silent. */
  totalMs?: number
  /** Connections at a time. A mail that finds all of them in use waits, within its `totalMs`. */
  connections?: number
}

export interface MailTransport {
  /** Rejects when it has taken `totalMs`, or when `signal` fires: whether the mail was taken is not known then. */
  send(mail: Mail.Options, signal: AbortSignal): Promise<void>
  /** Connects, says hello, logs in where the URL has a user, and sends nothing. Rejects when that has taken `totalMs`. */
  check(): Promise<void>
  /** Closes the connections, also those that a mail is being sent over: it fails. */
  stop(): void
}

// A reply of the mail server. What is longer is none.
const maxReplyBytes = 65_536
// For the server to close its half of a connection.
const closeMs = 1000
// Then a new connection, so that a server that moved to another address is found while mails never pause.
const maxMails = 100

/**
 * Sends each mail over a connection that an earlier mail left open, if there is one: connecting, TLS and log-in take longer than
 * a mail. A connection that nothing was sent over for `timeoutMs` is closed. When the server closes one before it takes
 * any part of the next mail, that mail goes over another connection, at most once for each of `connections`; after that it fails, since
 * the server may have taken it.
 */
export function createMailTransport(options: MailTransportOptions): MailTransport {
  const { smtpUrl, timeoutMs = 5000, totalMs = 15_000, connections = 10 } = options
  const transportOptions = {
    url: smtpUrl,
    connectionTimeout: timeoutMs,
    greetingTimeout: timeoutMs,
    socketTimeout: timeoutMs,
    dnsTimeout: timeoutMs,
    socketCloseTimeout: closeMs,
    maxResponseSize: maxReplyBytes,
    disableFileAccess: true,
    disableUrlAccess: true,
  }
  const transport = createTransport({
    ...transportOptions,
    pool: true,
    maxConnections: connections,
    maxMessages: maxMails,
    maxRequeues: connections, // a server that restarts has closed every kept connection
    // `socketTimeout` ends idle connections too. This one would wait for the reply to a QUIT, however long that takes.
    idleTimeout: 0,
  })
  return {
    async send(mail, signal) {
      const total = AbortSignal.any([signal, AbortSignal.timeout(totalMs)])
      await transport.sendMail({ ...mail, signal: total })
    },
    async check() {
      // Unlike `sendMail`, `verify` takes no signal. It ends with its socket, so it gets one that can be ended.
      const socket = new Socket()
      const late = setTimeout(() => socket.destroy(new Error(`no answer within ${totalMs} ms`)), totalMs)
      try {
        await createTransport({ ...transportOptions, socket }).verify()
      } finally {
        clearTimeout(late)
        setTimeout(() => socket.destroy(), closeMs).unref()
      }
    },
    stop: () => transport.close({ force: true }),
  }
}
