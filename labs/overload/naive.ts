import type { Parts } from '../../apps/api/src/parts.ts'
import { withWork } from './handler.ts'

/** Whoever comes is taken in, and waits. */
export const apiParts: Partial<Parts> = {
  listener: (app) => withWork(app),
}
