import { createRedisRateLimits } from '@escala/kit/rate-limits/redis'
import type { Parts } from '../../apps/api/src/parts.ts'
import { withShortWindows } from './windows.ts'

/** One counter for each window, shared by all replicas. */
export const apiParts: Partial<Parts> = {
  rateLimits: ({ redis }) => withShortWindows(createRedisRateLimits({ redis })),
}
