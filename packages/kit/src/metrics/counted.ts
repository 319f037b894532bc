import type { Cache, Reading } from '../cache/cache.ts'
import type { Locks } from '../locks/locks.ts'

/** `hit`: answered without this process's source, `load`: it was asked; `error`: neither. */
export type CacheReads = Record<'hit' | 'load' | 'error', number>

export function countReads(cache: Cache): Cache & { reads(): CacheReads } {
  const reads: CacheReads = { hit: 0, load: 0, error: 0 }
  return {
    ...cache,
    reads: () => ({ ...reads }),
    async get<T>(key: string, reading: Reading<T>) {
      let loaded = false
      const load = (signal: AbortSignal) => {
        loaded = true
        return reading.load(signal)
      }
      try {
        const value = await cache.get(key, { ...reading, load })
        reads[loaded ? 'load' : 'hit']++
        return value
      } catch (error) {
        reads.error++
        throw error
      }
    },
  }
}

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
