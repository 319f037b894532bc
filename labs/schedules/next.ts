import type { Parts } from '../../apps/worker/src/parts.ts'
import { report } from './every.ts'

/** The next version of the code: its schedule has another name. */
export const workerParts: Partial<Parts> = { ownSchedules: () => [report('report-next')] }
