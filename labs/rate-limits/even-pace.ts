import { createGcraRateLimits } from '@escala/kit/rate-limits/gcra'
import type { Parts } from '../../apps/api/src/parts.ts'
import { withShortWindows } from './windows.ts'

/** The policy for costly routes: no windows at all. */
export const apiParts: Partial<Parts> = {
  rateLimits: ({ redis }) => withShortWindows(createGcraRateLimits({ redis })),
}
