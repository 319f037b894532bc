import { type Counters, increase, read, tasksOf } from './counters.ts'

/** Processor time that a process and its children have used until now, in microseconds. */
export interface CpuTimes {
  /** Processor time of the live children, by process. */
  living: Map<number, Counters>
  /** All that children had used that have ended. */
  endedUs: number
}

// Of /proc/PID/stat: the kernel counts there in hundredths of a second on every Linux that Node.js runs on.
const tickUs = 10_000

export function readCpu(pid: number): CpuTimes {
  return {
    living: new Map([pid, ...childrenOf(pid)].map((id) => [id, threadTimes(id)])),
    endedUs: endedChildren(pid),
  }
}

/**
 * Returns the processor time between two moments. A child that ended meanwhile (for example an idle connection of Postgres) takes all
 * it ever used out of the sum of the living; the kernel adds that to what its parent's ended children used, so it is known.
 */
export function cpuBetween(before: CpuTimes, after: CpuTimes): number {
  const none: Counters = new Map()
  const living = [...after.living].reduce((sum, [pid, now]) => sum + increase(before.living.get(pid) ?? none, now), 0)
  const ended = [...before.living].filter(([pid]) => !after.living.has(pid))
  const usedBefore = ended.reduce((sum, [, threads]) => sum + increase(none, threads), 0)
  return living + Math.max(0, after.endedUs - before.endedUs - usedBefore)
}

/** Processor time of one process since it began, its ended threads included, in milliseconds. To a hundredth of a second. */
export function cpuSinceStart(pid: number): number {
  const [userTicks = 0, systemTicks = 0] = statOf(pid)
  return ((userTicks + systemTicks) * tickUs) / 1000
}

function endedChildren(pid: number): number {
  const [, , userTicks = 0, systemTicks = 0] = statOf(pid)
  return (userTicks + systemTicks) * tickUs
}

/** utime, stime, cutime and cstime; none when the process has ended. The program's name, in brackets, can hold anything. */
function statOf(pid: number): number[] {
  return read(`/proc/${pid}/stat`).split(') ').at(-1)?.split(' ').slice(11, 15).map(Number) ?? []
}

function threadTimes(pid: number): Counters {
  return new Map(
    tasksOf(pid).map((task) => [task, Number(read(`/proc/${pid}/task/${task}/schedstat`).split(' ')[0]) / 1000]),
  )
}

function childrenOf(pid: number): number[] {
  const own = tasksOf(pid).flatMap((task) =>
    read(`/proc/${pid}/task/${task}/children`).split(' ').filter(Boolean).map(Number),
  )
  return own.flatMap((child) => [child, ...childrenOf(child)])
}
