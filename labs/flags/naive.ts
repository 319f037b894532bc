import { createMemoryFlags } from '@escala/kit/flags/memory'
import type { Parts } from '../../apps/api/src/parts.ts'

/** Switches in a variable, turned over HTTP. */
export const apiParts: Partial<Parts> = {
  flags: ({ declaredFlags }) => createMemoryFlags({ declared: declaredFlags }),
}
