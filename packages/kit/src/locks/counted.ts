import type { Locks } from './locks.ts'

/** `busy`: somebody else had it; `lost`: acquired, and not given back in time. */
export type LockUses = Record<'acquired' | 'busy' | 'lost' | 'error', number>

export function countLocks(locks: Locks): Locks & { uses(): LockUses } {
  const uses: LockUses = { acquired: 0, busy: 0, lost: 0, error: 0 }
  return {
    ...locks,
    uses: () => ({ ...uses }),
    async acquire(name, options) {
      const lease = await locks.acquire(name, options).catch((error) => {
        uses.error++
        throw error
      })
      uses[lease ? 'acquired' : 'busy']++
      lease?.signal.addEventListener('abort', () => uses.lost++, { once: true })
      return lease
    },
  }
}
