import { freePort, type ServerProcess } from './processes.ts'

export interface LocalServer {
  url: string
  port: number
  pid: number
  version: string
  running(): boolean
  exited: Promise<void>
  /** Polite first, SIGKILL at last: bounded, and nothing is left behind. */
  stop(): Promise<void>
}

export type Settings = Record<string, string | number>

export function describe(server: ServerProcess, url: string, port: number, version: string): LocalServer {
  return { url, port, pid: server.pid, version, running: server.running, exited: server.exited, stop: server.stop }
}

/** If no port was requested, tries another one when the chosen one is taken in the meantime. */
export async function withPort<T>(port: number | undefined, start: (port: number) => Promise<T>): Promise<T> {
  if (port !== undefined) return await start(port)
  for (let tries = 1; ; tries++) {
    try {
      return await start(await freePort())
    } catch (error) {
      const taken = /in use|could not bind|could not create listening socket/i.test(String(error))
      if (!taken || tries === 3) throw error
    }
  }
}
