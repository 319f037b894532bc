import type { Cache, Reading } from './cache.ts'

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
