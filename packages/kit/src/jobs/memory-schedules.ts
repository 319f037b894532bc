import { randomUUID } from 'node:crypto'
import type { Logger } from '../log/log.ts'
import type { JobQueue, Schedule } from './jobs.ts'
import type { Schedules } from './schedules.ts'

export interface MemorySchedulesOptions {
  own: Schedule[]
  queue: Pick<JobQueue, 'add'>
  log: Logger
}

/** A timer in this process, so one tick per replica: periods only, no cron patterns. For tests, and to see what breaks. */
export function createMemorySchedules({ own, queue, log }: MemorySchedulesOptions): Schedules {
  const timers: NodeJS.Timeout[] = []
  const tick = (type: string) => {
    const job = { id: `${type}-${randomUUID()}`, type, payload: null }
    queue.add(job).catch((err) => log.warn({ err, type }, 'tick lost'))
  }
  return {
    scope: 'process',
    async start() {
      for (const { type, every } of own) {
        if (!('ms' in every)) continue
        tick(type)
        timers.push(setInterval(() => tick(type), every.ms))
      }
    },
    async stop() {
      timers.forEach(clearInterval)
    },
  }
}
