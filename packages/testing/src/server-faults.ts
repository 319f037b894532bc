import { rm } from 'node:fs/promises'
import type { LocalServer } from '@escala/servers/local-server'
import { childrenOf } from '@escala/servers/nginx-workers'

/** What can be done to a server that is a process of this machine. */
export interface ServerFaults {
  /** Ends without warning and starts again at the same address, with what was on its disk or, `empty`, without. */
  crash(options?: { empty?: boolean }): Promise<void>
  /** SIGSTOP for it and its children: what arrives meanwhile is done at `resume`. */
  pause(): Promise<void>
  resume(): Promise<void>
}

export interface RunningServer {
  url: string
  stop(): Promise<void>
  faults?: ServerFaults
}

/** Starts a server of this machine that can crash and hang. `signal` ends it as a crash would; `data` is what an empty server has lost. */
export async function withFaults(
  start: (port?: number) => Promise<LocalServer>,
  { signal, data }: { signal: NodeJS.Signals; data: string[] },
): Promise<RunningServer> {
  let current = await start()
  let stopped = false
  const sendAll = async (stopOrGoOn: NodeJS.Signals) => {
    if (!current.running()) return
    for (const pid of [current.pid, ...(await childrenOf(current.pid)).keys()]) kill(pid, stopOrGoOn)
  }
  const resume = () => sendAll('SIGCONT')
  return {
    url: current.url,
    async stop() {
      stopped = true
      await resume()
      await current.stop()
    },
    faults: {
      async crash({ empty = false } = {}) {
        kill(current.pid, signal)
        await current.exited
        if (empty) await Promise.all(data.map((path) => rm(path, { recursive: true, force: true })))
        if (stopped) return
        current = await start(current.port)
        if (stopped) await current.stop()
      },
      pause: () => sendAll('SIGSTOP'),
      resume,
    },
  }
}

/** A process that has just exited cannot be signalled any more. */
function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {}
}
