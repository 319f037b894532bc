import { createMemorySchedules } from '@escala/kit/jobs/memory-schedules'
import type { Parts } from '../../apps/worker/src/parts.ts'
import { report } from './every.ts'

/** `setInterval`, or a cron package, in each process: right as long as there is one. */
export const workerParts: Partial<Parts> = {
  ownSchedules: () => [report('report')],
  schedules: (options) => createMemorySchedules(options),
}
