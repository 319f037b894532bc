import type { JobCounts } from '@escala/kit/jobs/jobs.ts'
import type { Relay } from '@escala/kit/outbox/outbox.ts'

interface Sources {
  counts(): Promise<JobCounts>
  lag: Relay['lag']
}

/** Of the whole cluster, as any worker sees it. What cannot be reached is left out, which an alert can tell from 0. */
export async function workerMetrics({ counts, lag }: Sources): Promise<string> {
  const [jobs, outbox] = await Promise.all([counts().catch(() => undefined), lag().catch(() => undefined)])
  const lines: string[] = []
  if (jobs) {
    lines.push('# HELP escala_jobs Jobs in each state; failed are dead letters.', '# TYPE escala_jobs gauge')
    for (const [state, count] of Object.entries(jobs)) lines.push(`escala_jobs{state="${state}"} ${count}`)
  }
  if (outbox) {
    lines.push(
      '# HELP escala_outbox_waiting Messages that are not published yet.',
      '# TYPE escala_outbox_waiting gauge',
      `escala_outbox_waiting ${outbox.waiting}`,
      '# HELP escala_outbox_oldest_seconds Age of the oldest of them.',
      '# TYPE escala_outbox_oldest_seconds gauge',
      `escala_outbox_oldest_seconds ${outbox.oldestMs / 1000}`,
    )
  }
  return `${lines.join('\n')}\n`
}
