import type { Parts } from '../../apps/worker/src/parts.ts'
import { report } from './every.ts'

/** The worker as it is, with one schedule that does not make us wait for the night. */
export const workerParts: Partial<Parts> = { ownSchedules: () => [report('report')] }
