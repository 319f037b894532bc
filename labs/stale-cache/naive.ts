import { createMemoryCache } from '@escala/kit/cache/memory'
import type { Parts } from '../../apps/api/src/parts.ts'

/** A cache as one instance needs it: bounded, single-flight, and emptied of what this process changes. */
export const apiParts: Partial<Parts> = {
  cache: ({ log }) => createMemoryCache({ log, maxEntries: 10_000, maxBytes: 32_000_000 }),
}
