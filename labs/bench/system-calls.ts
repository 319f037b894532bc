import { spawn } from 'node:child_process'

/** Counts system calls that a process makes while `work` runs; `undefined` where there is no strace, or it may not look. */
export async function countSystemCalls(pid: number, work: () => Promise<unknown>): Promise<number | undefined> {
  const strace = spawn('strace', ['-c', '-f', '-p', String(pid)], { stdio: ['ignore', 'ignore', 'pipe'] })
  let output = ''
  const attached = Promise.withResolvers<void>()
  const ended = new Promise<void>((resolve) => strace.once('close', () => resolve()).once('error', () => resolve()))
  strace.stderr.on('data', (chunk) => {
    output += chunk
    if (output.includes('attached')) attached.resolve()
  })
  await Promise.race([attached.promise, ended])
  try {
    if (strace.exitCode === null && strace.pid !== undefined) await work()
  } finally {
    strace.kill('SIGINT')
    await ended
  }
  return totalCalls(output)
}

/** Reads the number of calls from the last line of what `strace -c` prints. */
export function totalCalls(output: string): number | undefined {
  const [, calls] = /^ *100\.00 +\S+ +\S+ +(\d+) .*total$/m.exec(output) ?? []
  return calls === undefined ? undefined : Number(calls)
}
