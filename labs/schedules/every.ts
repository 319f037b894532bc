import type { Schedule } from '@escala/kit/jobs/jobs'

export const periodMs = 300

/** The report of every night, in a lab whose nights are short. What makes it is the kit's own job: it is there without any module. */
export const report = (id: string): Schedule => ({ id, type: 'kit.clean', every: { ms: periodMs } })
