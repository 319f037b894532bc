import { createPostgresIdempotency } from '@escala/kit/idempotency/postgres.ts'
import type { OutboxMessage } from '@escala/kit/outbox/outbox.ts'
import type { Sql } from '@escala/kit/postgres/postgres.ts'
import { createConfirmationMailer } from '@escala/tickets/confirmation.ts'
import { orderJobs } from '@escala/tickets/jobs.ts'
import { createPayments } from '@escala/tickets/payments.ts'
import type { Deps, Parts } from '../../apps/api/src/compose.ts'

const { PAYMENTS_URL = '', SMTP_URL = '' } = process.env
const told = new WeakMap<Sql, OutboxMessage[]>()

/** The answer first, then the slow work, in the same process: no queue, no worker, quick to write. */
export const apiParts: Partial<Parts> = {
  outbox: () => ({
    async add(tx, message) {
      told.set(tx, [...(told.get(tx) ?? []), message])
      return ''
    },
  }),
  idempotency: (deps) => {
    const kept = createPostgresIdempotency(deps)
    return {
      ...kept,
      async run(request, effect) {
        const messages: OutboxMessage[] = []
        const result = await kept.run(request, async (tx) => {
          const answer = await effect(tx)
          messages.push(...(told.get(tx) ?? []))
          return answer
        })
        setImmediate(() => void work(deps, messages).catch((err) => deps.log.error({ err }, 'work failed')))
        return result
      },
    }
  },
}

async function work({ postgres, log }: Deps, messages: OutboxMessage[]): Promise<void> {
  const handlers = orderJobs({
    postgres,
    outbox: { add: async (_tx, message) => String(messages.push(message)) },
    events: { publish: async () => '' },
    payments: createPayments({ url: PAYMENTS_URL }),
    mailer: createConfirmationMailer({ smtpUrl: SMTP_URL, from: 'shop@example.com' }),
    stuckMs: 60_000,
  })
  const { signal } = new AbortController()
  // What a handler tells of is appended, and done next.
  for (const { type, payload, requestId } of messages) {
    await handlers[type]?.({ id: type, type, payload, requestId, attempt: 1, signal, log })
  }
}
