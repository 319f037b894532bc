import { createMemoryEvents } from '@escala/kit/events/memory'
import type { Parts } from '../../apps/api/src/parts.ts'

/** An event emitter: a sale is announced to the clients connected to this process. */
export const apiParts: Partial<Parts> = {
  events: () => createMemoryEvents(),
}
