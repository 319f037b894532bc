import type { Breaker } from '@escala/kit/breaker/breaker.ts'
import type { Sql, Statement } from '@escala/kit/postgres/postgres.ts'
import { carriedTracing, type SpanOptions, type Tracing } from '@escala/kit/tracing/tracing.ts'
import { createTransport } from 'nodemailer'

/** What the mail says. */
export interface Confirmation {
  orderId: string
  number: number
  quantity: number
  totalCents: number
  currency: string
  requestId: string
  traceparent: string | undefined
  email: string
  showName: string
  startsAt: Date
}

export interface ConfirmationMailer {
  /** Resolves when the mail server has taken the mail. At least once: a second try carries the same `Message-ID`. */
  send(confirmation: Confirmation): Promise<void>
}

export interface MailerOptions {
  smtpUrl: string
  /** `tickets@example.com` or `Tickets <tickets@example.com>`. */
  from: string
  /** Every mail goes through it. */
  breaker: Breaker
  timeoutMs?: number
  tracing?: Tracing
}

const selectReceiver: Statement = {
  name: 'tickets-order-receiver',
  text: `SELECT users.email, shows.name AS show_name, shows.starts_at
    FROM orders JOIN users ON users.id = orders.user_id JOIN shows ON shows.id = orders.show_id WHERE orders.id = $1`,
}

/** Returns where the mail goes, and what for; `undefined` when the user was deleted. */
export async function readReceiver(sql: Sql, orderId: string) {
  type Row = { email: string; show_name: string; starts_at: Date }
  const { rows } = await sql.query<Row>(selectReceiver, [orderId])
  const row = rows[0]
  return row && { email: row.email, showName: row.show_name, startsAt: row.starts_at }
}

/** A connection for each mail: nothing is left open between them, and nothing has to be stopped. */
export function createConfirmationMailer(options: MailerOptions): ConfirmationMailer {
  const { smtpUrl, from, breaker, timeoutMs = 5000, tracing = carriedTracing } = options
  const transport = createTransport({
    url: smtpUrl,
    connectionTimeout: timeoutMs,
    greetingTimeout: timeoutMs,
    socketTimeout: timeoutMs,
    dnsTimeout: timeoutMs,
    disableFileAccess: true,
    disableUrlAccess: true,
  })
  const domain = /@([\w.-]+)/.exec(from)?.[1] ?? 'localhost'
  return {
    async send(confirmation) {
      const mail = (traceparent: string | undefined) => ({
        from,
        // An object, not text, in which a comma would make another receiver. Without the user's name: nobody has shown yet that
        // the address is theirs, so a stranger would get whatever text was typed as a name.
        to: { name: '', address: confirmation.email },
        // One for the order: SMTP knows no exactly-once, but whoever gets the mail twice can tell.
        messageId: `<${confirmation.orderId}@${domain}>`,
        headers: { 'X-Request-Id': confirmation.requestId, ...(traceparent && { traceparent }) },
        subject: `Order ${confirmation.number}: ${confirmation.quantity} × ${confirmation.showName}`,
        text: textOf(confirmation),
      })
      const span: SpanOptions = { name: 'mail', kind: 'client', traceparent: confirmation.traceparent }
      await breaker.run(() => tracing.span(span, ({ traceparent }) => transport.sendMail(mail(traceparent))))
    },
  }
}

/** For the breaker: what the server refuses for good, an address or a text, says nothing about the server. */
export function isMailServersFailure(error: Error & { code?: string; responseCode?: number }): boolean {
  const isAboutThisMail = error.code === 'EENVELOPE' || error.code === 'EMESSAGE'
  return !(isAboutThisMail && (error.responseCode ?? 0) >= 500)
}

function textOf({ number, quantity, showName, startsAt, totalCents, currency }: Confirmation): string {
  return [
    `Your order ${number} is confirmed: ${quantity} × ${showName}, ${startsAt.toUTCString()}.`,
    `Paid: ${(totalCents / 100).toFixed(2)} ${currency}`,
    '',
  ].join('\n')
}
