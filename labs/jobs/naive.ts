import type { Breaker, BreakerCall } from '@escala/kit/breaker/breaker'
import type { EffectStatement, IdempotentRequest } from '@escala/kit/idempotency/idempotency'
import { createPostgresIdempotency } from '@escala/kit/idempotency/postgres'
import { createSmtpMailer } from '@escala/kit/mail/smtp'
import type { OutboxMessage } from '@escala/kit/outbox/outbox'
import { orderJobs } from '@escala/tickets/jobs'
import { chargeMessage, mailMessage } from '@escala/tickets/messages'
import { createPayments } from '@escala/tickets/payments'
import type { Deps, Parts } from '../../apps/api/src/parts.ts'

const { PAYMENTS_URL = '', SMTP_URL = '' } = process.env
/** The response first, then the slow work, in the same process: no queue, no worker, quick to write. */
export const apiParts: Partial<Parts> = {
  outbox: () => ({ scope: 'process', add: async () => '', insert: (select) => select }),
  idempotency: (deps) => {
    const kept = createPostgresIdempotency(deps)
    return {
      ...kept,
      runBatch: undefined,
      async runStatement<Row>(request: IdempotentRequest, effect: EffectStatement) {
        const outcome = await kept.runStatement<Row>(request, effect)
        if (outcome && !outcome.replayed) {
          const { id } = outcome.response.body as { id: string }
          // No outbox message announces the mail: it comes after the charge, and does nothing for an order that was not paid.
          const messages = [chargeMessage(id, ''), mailMessage(id, '')]
          setImmediate(() => void work(deps, messages).catch((err) => deps.log.error({ err }, 'work failed')))
        }
        return outcome
      },
    }
  },
}

const none = {
  run: async <T>(call: () => Promise<T>, { begin }: BreakerCall = {}) =>
    (await begin?.()) === false ? undefined : call(),
} as Breaker

async function work({ postgres, log }: Deps, messages: OutboxMessage[]): Promise<void> {
  const handlers = orderJobs({
    postgres,
    outbox: { insert: (select) => select },
    deadLetters: { among: async () => new Set() },
    events: { publish: async () => '' },
    payments: createPayments({ url: PAYMENTS_URL, breaker: none }),
    mailer: createSmtpMailer({ smtpUrl: SMTP_URL, from: 'shop@example.com', breaker: none }),
    stuckMs: 60_000,
  })
  const { signal } = new AbortController()
  for (const { type, payload, requestId } of messages) {
    await handlers[type]?.({
      id: type,
      type,
      payload,
      requestId,
      traceparent: undefined,
      attempt: 1,
      isFirstTry: true,
      signal,
      log,
    })
  }
}
