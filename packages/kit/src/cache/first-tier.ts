import { LRUCache } from 'lru-cache'
import type { FirstTierOptions } from './cache.ts'

/** Times are `performance.now()`'s. */
export interface Entry {
  value: unknown
  version: number | undefined
  /** Until then it is returned without a look-up. */
  freshUntil: number
  /** Until then it is better than an error. */
  staleUntil: number
}

/** One load or look-up that all who ask at the same time share. */
export interface Flight {
  /** The key was invalidated meanwhile: its result is for those who had asked before, and is not kept. */
  outdated: boolean
}

/** Versions of keys that are remembered, for each entry that may be kept. */
const versionsPerEntry = 10

/** What one process remembers: entries, the flights under way, and for each key the newest version that it has heard of. */
export function createFirstTier({ maxEntries, maxBytes }: FirstTierOptions) {
  const entries = new LRUCache<string, Entry>({ max: maxEntries, maxSize: maxBytes, maxEntrySize: maxBytes })
  // Outlives the entries: else an eviction would let an older value come back.
  // Bounded as a size of 1 each: for a `max` it would take all of its memory at once.
  const newest = new LRUCache<string, number>({ maxSize: maxEntries * versionsPerEntry, sizeCalculation: () => 1 })
  const joinable = new Map<string, Promise<Entry>>()
  const flights = new Map<string, Set<Flight>>()

  /** Runs `work` where an invalidation can see it. */
  const watch = async <T>(key: string, work: (flight: Flight) => Promise<T>): Promise<T> => {
    const flight: Flight = { outdated: false }
    const all = flights.get(key) ?? new Set()
    flights.set(key, all.add(flight))
    try {
      return await work(flight)
    } finally {
      all.delete(flight)
      if (all.size === 0 && flights.get(key) === all) flights.delete(key)
    }
  }
  const outdate = (key: string) => {
    for (const flight of flights.get(key) ?? []) flight.outdated = true
    joinable.delete(key) // later readers must not get what was read before
  }

  return {
    watch,
    find: (key: string) => entries.get(key),
    newest: (key: string) => newest.get(key),
    isOlder: (key: string, version: number | undefined) => (version ?? 0) < (newest.get(key) ?? 0),
    /** The source itself says so: forget what was heard. */
    accept: (key: string) => void newest.delete(key),

    keep(key: string, text: string, flight: Flight, entry: Omit<Entry, 'value'>): Entry {
      const whole = { ...entry, value: parse(text) }
      if ((entry.version ?? 0) < (newest.get(key) ?? 0)) return whole
      if (entry.version !== undefined) newest.set(key, entry.version)
      if (flight.outdated) return whole
      // Two bytes a character, about as much again for the objects, and the entry itself.
      entries.set(key, whole, { size: 200 + 2 * key.length + 4 * text.length })
      return whole
    },

    invalidate(key: string, version: number | undefined) {
      if (version !== undefined && version > (newest.get(key) ?? 0)) newest.set(key, version)
      const entry = entries.peek(key)
      if (version === undefined || (entry && (entry.version ?? 0) < version)) entries.delete(key)
      outdate(key)
    },

    /** One load at a time for each key; concurrent readers share its result. */
    fly(key: string, work: (flight: Flight) => Promise<Entry>): Promise<Entry> {
      const running = joinable.get(key)
      if (running) return running
      const result = watch(key, work).finally(() => {
        if (joinable.get(key) === result) joinable.delete(key)
      })
      joinable.set(key, result)
      return result
    },

    clear() {
      entries.clear()
      for (const key of flights.keys()) outdate(key)
    },
  }
}

function parse(text: string): unknown {
  return text === '' ? undefined : JSON.parse(text, (_key, value) => Object.freeze(value))
}
