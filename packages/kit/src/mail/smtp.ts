import { PermanentFailure } from '../errors/permanent-failure.ts'
import { carriedTracing, type SpanOptions, type Tracing } from '../tracing/tracing.ts'
import type { Mailer } from './mail.ts'
import { createMailTransport, type MailTransportOptions } from './transport.ts'

export interface SmtpMailerOptions extends MailTransportOptions {
  /** `escala@example.com` or `Escala <escala@example.com>`. */
  from: string
  /** Every mail goes through it. */
  breaker: { run<T>(call: () => Promise<T>, options: { isFirst?: boolean }): Promise<T> }
  tracing?: Tracing
}

/** For the breaker. */
export function createMailCheck(options: MailTransportOptions): () => Promise<unknown> {
  return createMailTransport(options).check
}

export function createSmtpMailer(options: SmtpMailerOptions): Mailer {
  const { from, breaker, tracing = carriedTracing } = options
  const transport = createMailTransport(options)
  const domain = /@([\w.-]+)/.exec(from)?.[1] ?? 'localhost'
  return {
    async send({ to, subject, text, id, requestId, isFirst, signal, ...given }) {
      const mail = (traceparent: string | undefined) => ({
        from,
        to: { name: '', address: to }, // an object, not text, in which a comma would make another receiver
        messageId: `<${id}@${domain}>`,
        headers: { ...(requestId && { 'X-Request-Id': requestId }), ...(traceparent && { traceparent }) },
        subject,
        text,
      })
      const span: SpanOptions = { name: 'mail', kind: 'client', traceparent: given.traceparent }
      const send = () => tracing.span(span, ({ traceparent }) => transport.send(mail(traceparent), signal))
      await breaker.run(send, { isFirst }).catch((error) => {
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
