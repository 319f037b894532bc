import { Socket } from 'node:net'
import { createTransport } from 'nodemailer'
import type Mail from 'nodemailer/lib/mailer'

export interface MailTransportOptions {
  smtpUrl: string
  /** Longest silence of the mail server, and longest wait for its name, its connection and its greeting. */
  timeoutMs?: number
  /** Longest time for one mail in all: a server that says a little every few seconds is never silent. */
  totalMs?: number
}

export interface MailTransport {
  /** Rejects when it has taken `totalMs`, or when `signal` fires: whether the mail was taken is not known then. */
  send(mail: Mail.Options, signal: AbortSignal): Promise<void>
  /** Connects, says hello, logs in where the URL has a user, and sends nothing. Rejects when that has taken `totalMs`. */
  check(): Promise<void>
}

// A reply of the mail server. What is longer is none.
const maxReplyBytes = 65_536
// For the server to answer QUIT.
const closeMs = 1000

/** A connection for each mail: nothing is left open between them, and nothing has to be stopped. */
export function createMailTransport(options: MailTransportOptions): MailTransport {
  const { smtpUrl, timeoutMs = 5000, totalMs = 15_000 } = options
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
  const transport = createTransport(transportOptions)
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
  }
}
