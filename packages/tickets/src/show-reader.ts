import type { Cache } from '@escala/kit/cache/cache'
import type { Sql } from '@escala/kit/postgres/postgres'
import type { Show } from './schemas.ts'
import { type Availability, readAvailability, readDetails } from './shows.ts'

export type ShowReader = ReturnType<typeof createShowReader>

export interface ShowReaderOptions {
  cache: Cache
  postgres: Sql
  /** Of details. After it, an old value is answered for twice as long, while one replica reads the new one. */
  freshMs?: number
}

/**
 * Shows through the cache, in two entries that live differently. Details change seldom, and a change is announced at once.
 * The availability changes with each sale: notifying every replica would cost more than reading it four times a second.
 */
export function createShowReader({ cache, postgres, freshMs = 10_000 }: ShowReaderOptions) {
  const details = (id: string) =>
    cache.get(`show:${id}`, {
      load: () => readDetails(postgres, id),
      version: ({ version }) => version,
      freshMs,
      staleMs: 2 * freshMs,
    })
  /** At most 250 ms old: good enough to look at; the order decides. */
  const availability = (id: string): Promise<Availability | undefined> =>
    cache.get(`available:${id}`, {
      load: () => readAvailability(postgres, id),
      version: ({ revision }) => revision,
      freshMs: 250,
      staleMs: 0,
    })

  return {
    availability,
    /** As of the details that are cached: a show that was just made may be missing for a second. */
    exists: async (id: string): Promise<boolean> => (await details(id)) !== undefined,
    async read(id: string): Promise<Show | undefined> {
      const [known, now] = await Promise.all([details(id), availability(id)])
      return known && now && { ...known, available: Math.min(now.available, known.capacity) }
    },
    /** After the commit. */
    async changed(id: string, version: number, revision: number): Promise<void> {
      await Promise.all([cache.invalidate(`show:${id}`, version), cache.invalidate(`available:${id}`, revision)])
    },
  }
}
