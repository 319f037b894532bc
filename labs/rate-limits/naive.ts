import { createMemoryRateLimits } from '@escala/kit/rate-limits/memory'
import type { Parts } from '../../apps/api/src/parts.ts'

/** As express-rate-limit does it without a store: each replica counts what it sees itself. */
export const apiParts: Partial<Parts> = {
  rateLimits: () => createMemoryRateLimits(),
}
