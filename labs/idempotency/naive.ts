import type { EffectStatement, StoredResponse } from '@escala/kit/idempotency/idempotency'
import type { Parts } from '../../apps/api/src/parts.ts'
import { withoutKey } from '../../packages/kit/src/idempotency/statement.ts'

/** Every request is a new one: what an API does that does not consider retries. */
export const apiParts: Partial<Parts> = {
  idempotency: ({ postgres }) => ({
    scope: 'process',
    forget: async () => undefined,
    run: async (_request, effect) => ({ response: await postgres.transaction(effect), replayed: false }),
    async runStatement<Row>(_request: unknown, effect: EffectStatement) {
      const { rows } = await postgres.query<StoredResponse & Row>(withoutKey(effect), effect.values)
      return rows[0] && { response: rows[0], replayed: false as const, row: rows[0] }
    },
  }),
}
