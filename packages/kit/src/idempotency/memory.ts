import { kitErrors } from '../errors/errors.ts'
import type { Postgres } from '../postgres/postgres.ts'
import type { EffectStatement, Idempotency, IdempotentRequest, StoredResponse } from './idempotency.ts'
import { runAlone } from './statement.ts'

/**
 * Keys in this process: another replica, or this one after a restart, runs the effect again.
 * The key and the effect do not commit together either. For tests, and for exactly one replica.
 */
export function createMemoryIdempotency(postgres: Pick<Postgres, 'query' | 'transaction'>): Idempotency {
  const stored = new Map<string, { fingerprint: string; response: StoredResponse }>()
  const running = new Set<string>()

  /** `effect` returns `undefined` when it was refused. */
  const once = async <Result extends { response: StoredResponse } | undefined>(
    { owner, key, fingerprint }: IdempotentRequest,
    effect: () => Promise<Result>,
  ) => {
    const id = JSON.stringify([owner, key])
    if (running.has(id)) throw kitErrors.E_IDEMPOTENCY_IN_PROGRESS({ retryAfterMs: 1000 })
    const found = stored.get(id)
    if (found) {
      if (found.fingerprint !== fingerprint) throw kitErrors.E_IDEMPOTENCY_MISMATCH()
      return { response: found.response, replayed: true } as const
    }
    running.add(id)
    try {
      const result = await effect()
      if (result) stored.set(id, { fingerprint, response: result.response })
      return result
    } finally {
      running.delete(id)
    }
  }

  return {
    scope: 'process',
    run: (request, effect) =>
      once(request, async () => ({ response: await postgres.transaction(effect), replayed: false })),
    async forget(_tx, owner) {
      for (const id of stored.keys()) if (JSON.parse(id)[0] === owner) stored.delete(id)
    },
    runStatement: <Row>(request: IdempotentRequest, effect: EffectStatement) =>
      once(request, () => runAlone<Row>(postgres, effect)),
  }
}
