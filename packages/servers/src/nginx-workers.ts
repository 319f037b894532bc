import { readFileSync } from 'node:fs'
import { setTimeout as wait } from 'node:timers/promises'
import { run } from './processes.ts'

const limitMs = 5000

/** The processes that a server has started, by their ids, each with its title. */
export async function childrenOf(master: number): Promise<Map<number, string>> {
  if (process.platform !== 'linux') {
    const { output } = await run('ps', ['-A', '-o', 'pid=,ppid=,command='])
    const lines = output.split('\n').map((line) => /^\s*(\d+)\s+(\d+)\s+(.*)/.exec(line))
    return new Map(
      lines.flatMap((line) => (Number(line?.[2]) === master ? [[Number(line?.[1]), line?.[3] ?? '']] : [])),
    )
  }
  try {
    const ids = readFileSync(`/proc/${master}/task/${master}/children`, 'utf8').split(' ').filter(Boolean).map(Number)
    return new Map(ids.map((id) => [id, readFileSync(`/proc/${id}/cmdline`, 'utf8')]))
  } catch {
    return new Map() // one of them ended in between
  }
}

/**
 * Makes NGINX reload its configuration, and resolves when the old workers take no new connection: until then, a new one
 * could still be served by the old configuration, or be closed under its first request.
 */
export function reloadWorkers(master: number, signal: () => void): Promise<void> {
  return untilReloaded(() => childrenOf(master), signal)
}

/** The same for an NGINX whose workers, by their ids and with their titles, are found in another way. */
export async function untilReloaded(
  workers: () => Promise<Map<number, string>>,
  signal: () => void | Promise<void>,
): Promise<void> {
  const old = await workers()
  await signal()
  for (const deadline = Date.now() + limitMs; Date.now() < deadline; await wait(10)) {
    const now = [...(await workers())]
    const fresh = now.some(([id]) => !old.has(id))
    if (fresh && now.every(([id, title]) => !old.has(id) || title.includes('shutting down'))) return
  }
  throw new Error(`NGINX did not reload within ${limitMs} ms`)
}
