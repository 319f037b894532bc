import type { Schedule } from '@escala/kit/jobs/jobs.ts'

export const periodMs = 300

/** The sales report of every night, in a lab whose nights are short. */
export const report = (id: string): Schedule => ({ id, type: 'reports.sales', every: { ms: periodMs } })
