import { kitErrors } from '../errors/errors.ts'
import type { Postgres } from '../postgres/postgres.ts'
import type { Idempotency, StoredAnswer } from './idempotency.ts'

/**
 * Keys in this process: another replica, or this one after a restart, runs the effect again.
 * The key and the effect do not commit together either. For tests, and for exactly one replica.
 */
export function createMemoryIdempotency(postgres: Pick<Postgres, 'transaction'>): Idempotency {
  const stored = new Map<string, { fingerprint: string; answer: StoredAnswer }>()
  const running = new Set<string>()
  return {
    scope: 'process',
    async run({ owner, key, fingerprint }, effect) {
      const id = JSON.stringify([owner, key])
      if (running.has(id)) throw kitErrors.E_IDEMPOTENCY_IN_PROGRESS({ retryAfterMs: 1000 })
      const found = stored.get(id)
      if (found) {
        if (found.fingerprint !== fingerprint) throw kitErrors.E_IDEMPOTENCY_MISMATCH()
        return { answer: found.answer, replayed: true }
      }
      running.add(id)
      try {
        const answer = await postgres.transaction(effect)
        stored.set(id, { fingerprint, answer })
        return { answer, replayed: false }
      } finally {
        running.delete(id)
      }
    },
  }
}
