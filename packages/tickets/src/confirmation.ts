import type { Breaker } from '@escala/kit/breaker/breaker.ts'
import { PermanentFailure } from '@escala/kit/jobs/jobs.ts'
import { carriedTracing, type SpanOptions, type Tracing } from '@escala/kit/tracing/tracing.ts'
import { createMailTransport, type MailTransportOptions } from './mail-transport.ts'

/** What the mail says. */
export interface Confirmation {
  orderId: string
  number: number
  quantity: number
  totalCents: number
  currency: string
  requestId: string
  traceparent: string | undefined
  /** Whether it has not been tried before. */
  isFirst: boolean
  /** Ends the attempt: the worker stops. */
  signal: AbortSignal
  email: string
  showName: string
  startsAt: Date
}

export interface ConfirmationMailer {
  /**
   * Resolves when the mail server has taken the mail. At least once: a second try carries the same `Message-ID`.
   * Throws a `PermanentFailure` when the server refuses for good (a 5xx reply).
   */
  send(confirmation: Confirmation): Promise<void>
  /** Closes the connections to the mail server. */
  stop(): void
}

export interface MailerOptions extends MailTransportOptions {
  /** `tickets@example.com` or `Tickets <tickets@example.com>`. */
  from: string
  /** Every mail goes through it. */
  breaker: Breaker
  tracing?: Tracing
}

/** For the breaker. */
export function createMailCheck(options: MailTransportOptions): () => Promise<unknown> {
  return createMailTransport(options).check
}

export function createConfirmationMailer(options: MailerOptions): ConfirmationMailer {
  const { from, breaker, tracing = carriedTracing } = options
  const transport = createMailTransport(options)
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
      const send = () => tracing.span(span, ({ traceparent }) => transport.send(mail(traceparent), confirmation.signal))
      await breaker.run(send, { isFirst: confirmation.isFirst }).catch((error) => {
        throw withoutAddress(error)
      })
    },
    stop: transport.stop,
  }
}

interface SmtpError extends Error {
  code?: string
  responseCode?: number
}

/** For the breaker: what the server refuses for good, an address or a text, says nothing about the server. */
export function isMailServersFailure(error: SmtpError): boolean {
  const isAboutThisMail = error.code === 'EENVELOPE' || error.code === 'EMESSAGE'
  return !(isAboutThisMail && isForGood(error))
}

/** RFC 5321, 4.2.1: after a 5xx reply the same mail must not be sent again. */
const isForGood = ({ responseCode = 0 }: SmtpError) => responseCode >= 500 && responseCode < 600

/** A reply of the server repeats the receiver's address, which belongs into no log and no dead letter. */
function withoutAddress(error: SmtpError): Error {
  if (error.responseCode === undefined) return error
  const what = `the mail server replied ${error.responseCode} (${error.code})`
  return isForGood(error) ? new PermanentFailure(what) : new Error(what)
}

function textOf({ number, quantity, showName, startsAt, totalCents, currency }: Confirmation): string {
  return [
    `Your order ${number} is confirmed: ${quantity} × ${showName}, ${startsAt.toUTCString()}.`,
    `Paid: ${(totalCents / 100).toFixed(2)} ${currency}`,
    '',
  ].join('\n')
}
