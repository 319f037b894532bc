import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { chmod } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { guard, isAlive, run } from '@escala/servers/processes'
import { until } from '@escala/servers/waiting'
import { type Pm2, pm2Bounds } from './pm2.ts'

export interface DaemonOptions {
  pm2: Pm2
  /** PM2_HOME. */
  home: string
  ecosystem: string
}

export interface Daemon {
  /** Starts PM2 and what the ecosystem file lists, after ending what an earlier PM2 of this folder left behind. */
  start(env: Record<string, string | undefined>, signal: AbortSignal): Promise<void>
  /** Calls `died` once if PM2 exits without having been stopped. */
  watch(died: () => void): void
  /** Drains and ends all processes, then PM2, also one that stands still. Does nothing where nothing runs. */
  stop(): Promise<void>
}

const watchMs = 250
// A daemon that gets a signal ends its processes one after another: 32 replicas, each of which refuses connections for two seconds first,
// and those that still drain.
const endMs = 60_000 + 32 * 3000
// A worker without PM2 drains like any other, but its successors wait for its port.
const leftoverMs = 5000

/** PM2's daemon for one folder. It ends when this process does, however that ends. */
export function createDaemon({ pm2, home, ecosystem }: DaemonOptions): Daemon {
  let release = () => {}
  let watching: NodeJS.Timeout | undefined
  return {
    async start(env, signal) {
      mkdirSync(home, { recursive: true, mode: 0o700 })
      await chmod(home, 0o700) // a process that can write to the sockets in there can start programs as this user
      await endLeftovers(home)
      const starting = pm2.command(['start', ecosystem], { env, signal, timeoutMs: pm2Bounds.startMs })
      starting.catch(() => undefined) // looked at below
      const pid = await until(() => pm2.daemonPid(), 20_000, 'PM2 did not start')
      release = guard(pid, 'SIGTERM', endMs)
      await starting.catch((error) => {
        if (!signal.aborted) throw error
      })
      for (const name of readdirSync(home).filter((name) => name.endsWith('.sock')))
        await chmod(join(home, name), 0o700)
    },
    watch(died) {
      clearInterval(watching)
      watching = setInterval(() => {
        if (pm2.daemonPid() !== undefined) return
        clearInterval(watching)
        release()
        died()
      }, watchMs)
      watching.unref()
    },
    async stop() {
      clearInterval(watching)
      const pid = pm2.daemonPid()
      if (pid !== undefined) await endAll(pm2).catch(() => endByForce(pid, home))
      release()
      await endLeftovers(home)
    },
  }
}

async function endAll(pm2: Pm2): Promise<void> {
  const processes = await pm2.list()
  const timeoutMs = Math.max(0, ...processes.map((one) => one.killTimeoutMs)) + pm2Bounds.endMs
  if (processes.length > 0) await pm2.command(['delete', 'all'], { timeoutMs })
  await pm2.command(['kill'])
}

/** A PM2 that stands still must not start again what is ended: it ends only afterwards, but cannot do anything meanwhile. */
async function endByForce(pid: number, home: string): Promise<void> {
  send(pid, 'SIGSTOP')
  await endLeftovers(home)
  send(pid, 'SIGKILL')
  while (isAlive(pid)) await wait(50)
}

/** Ends processes whose PM2 is gone: replicas in cluster mode end with it, workers do not. */
async function endLeftovers(home: string): Promise<void> {
  const folder = join(home, 'pids')
  const files = existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : []
  await Promise.all(
    files.map(async (file) => {
      const pid = Number(readFileSync(file, 'utf8'))
      if (pid > 0 && (await isOurs(pid, home))) await end(pid)
      rmSync(file, { force: true })
    }),
  )
}

async function end(pid: number): Promise<void> {
  const deadline = Date.now() + leftoverMs
  send(pid, 'SIGTERM')
  while (isAlive(pid)) {
    if (Date.now() > deadline) send(pid, 'SIGKILL')
    await wait(50)
  }
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // it has just ended
  }
}

/** The number in a file may be another program's by now. */
async function isOurs(pid: number, home: string): Promise<boolean> {
  if (!isAlive(pid)) return false
  if (process.platform === 'linux') {
    try {
      return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`PM2_HOME=${home}`)
    } catch {
      return false
    }
  }
  return (await run('ps', ['-E', '-p', String(pid), '-o', 'command='])).output.includes(`PM2_HOME=${home}`)
}
