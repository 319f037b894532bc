import type { Parts } from '../../apps/api/src/parts.ts'
import { withWork } from './handler.ts'

/** Every request is accepted, and waits. */
export const apiParts: Partial<Parts> = {
  listener: (app) => withWork(app),
}
