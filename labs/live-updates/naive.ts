import { createMemoryEvents } from '@escala/kit/events/memory.ts'
import type { Parts } from '../../apps/api/src/parts.ts'

/** An event emitter: whoever sells tells whoever is connected, in this process. */
export const apiParts: Partial<Parts> = {
  events: () => createMemoryEvents(),
}
