import type { Parts } from '../../apps/api/src/compose.ts'

/** Every request is a new one: what an API does that nobody told about retries. */
export const apiParts: Partial<Parts> = {
  idempotency: ({ postgres }) => ({
    scope: 'process',
    run: async (_request, effect) => ({ answer: await postgres.transaction(effect), replayed: false }),
  }),
}
