import type { EffectStatement, IdempotentRequest } from '@escala/kit/idempotency/idempotency'
import { createPostgresIdempotency } from '@escala/kit/idempotency/postgres'
import { createBullmqQueue } from '@escala/kit/jobs/bullmq'
import { chargeMessage } from '@escala/tickets/messages'
import { v7 } from 'uuid'
import type { Parts } from '../../apps/api/src/parts.ts'

/** `await commit(); await queue.add(…)`: the right order, and two systems that cannot commit together. */
export const apiParts: Partial<Parts> = {
  outbox: () => ({ scope: 'process', add: async () => '', insert: (select) => select }),
  idempotency: ({ postgres, redis }) => {
    const kept = createPostgresIdempotency({ postgres })
    const queue = createBullmqQueue({ redis })
    return {
      ...kept,
      runBatch: undefined,
      async runStatement<Row>(request: IdempotentRequest, effect: EffectStatement) {
        const outcome = await kept.runStatement<Row>(request, effect)
        if (outcome && !outcome.replayed) {
          const { type, payload } = chargeMessage((outcome.response.body as { id: string }).id, '')
          await queue.add({ id: `${type}-${v7()}`, type, payload })
        }
        return outcome
      },
    }
  },
}
