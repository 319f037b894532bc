import { readdirSync, readFileSync } from 'node:fs'

/** Counters of the threads of one process, by the thread's number. */
export type Counters = Map<number, number>

/**
 * Returns by how much counters went up. One that is new counts from zero; one that has ended counts for nothing here, since
 * what it had counted until then is gone: the sum of all that live can go down, this cannot.
 */
export function increase(before: Counters, after: Counters): number {
  return [...after].reduce((sum, [id, value]) => sum + Math.max(0, value - (before.get(id) ?? 0)), 0)
}

/** Returns how often each thread of a process went to sleep by itself, and so was woken up later. */
export function readWakeUps(pid: number): Counters {
  return new Map(
    tasksOf(pid).map((task) => {
      const [, switches] = /^voluntary_ctxt_switches:\s+(\d+)/m.exec(read(`/proc/${pid}/task/${task}/status`)) ?? []
      return [task, Number(switches ?? 0)]
    }),
  )
}

/** Returns the memory of a process that is in RAM, in bytes; `undefined` where there is no /proc. */
export function readMemory(pid: number): number | undefined {
  const [, kiB] = /^VmRSS:\s+(\d+) kB/m.exec(read(`/proc/${pid}/status`)) ?? []
  return kiB === undefined ? undefined : Number(kiB) * 1024
}

export function tasksOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map(Number)
  } catch {
    return [] // ended, or not Linux
  }
}

export function read(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return ''
  }
}
