import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'

/** Processor time of a process, its threads and its children, in microseconds; 0 where there is no /proc. */
export function cpuOf(pid: number): number {
  return [pid, ...childrenOf(pid)].reduce((sum, id) => sum + ownCpu(id), 0)
}

function ownCpu(pid: number): number {
  return list(`/proc/${pid}/task`).reduce((sum, task) => {
    const [ns = '0'] = read(`/proc/${pid}/task/${task}/schedstat`).split(' ')
    return sum + Number(ns) / 1000
  }, 0)
}

function childrenOf(pid: number): number[] {
  const own = list(`/proc/${pid}/task`).flatMap((task) =>
    read(`/proc/${pid}/task/${task}/children`).split(' ').filter(Boolean).map(Number),
  )
  return own.flatMap((child) => [child, ...childrenOf(child)])
}

/** System calls that a process makes while `work` runs; `undefined` where there is no strace, or it may not look. */
export async function systemCalls(pid: number, work: () => Promise<unknown>): Promise<number | undefined> {
  const strace = spawn('strace', ['-c', '-f', '-p', String(pid)], { stdio: ['ignore', 'ignore', 'pipe'] })
  let output = ''
  const attached = Promise.withResolvers<void>()
  const ended = new Promise<void>((resolve) => strace.once('close', () => resolve()).once('error', () => resolve()))
  strace.stderr.on('data', (chunk) => {
    output += chunk
    if (output.includes('attached')) attached.resolve()
  })
  await Promise.race([attached.promise, ended])
  if (strace.exitCode === null && strace.pid !== undefined) await work()
  strace.kill('SIGINT')
  await ended
  const total = /^ *100\.00 .* total$/m.exec(output)?.[0].trim().split(/\s+/)
  return total && Number(total[3])
}

function list(path: string): string[] {
  try {
    return readdirSync(path)
  } catch {
    return [] // ended, or not Linux
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return ''
  }
}
