import { connect } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

/** One process or container of the API or the worker. */
export interface Replica {
  id: string
  role: 'api' | 'worker'
  /** The API's own address, past NGINX; a worker has none. */
  url: string
  /** Of `/livez`, `/readyz`, `/metrics`, `/scale`. */
  internalUrl: string
  /** Where it answers whether it is ready. Default: `/readyz` of `internalUrl`; without that, it is ready when it accepts connections. */
  readyUrl?: string
  /** Nothing says when it is ready: it is as soon as it runs. */
  readyAtOnce?: boolean
  /** Host and port as NGINX sees them. */
  address: string
  pid: number
  running(): boolean
  /** Settles with the exit code when the process has ended; 137 for SIGKILL. A restart makes a new one. */
  exited(): Promise<number>
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>
  /** SIGSTOP: alive for the kernel, hung for everybody else. */
  pause(): Promise<void>
  resume(): Promise<void>
  /** SIGTERM: drains, then exits; resolves with the exit code. */
  terminate(): Promise<number>
  /** A new process with the same id and ports, ready; what still runs is killed first. */
  restart(): Promise<void>
  /** Ends it for good. */
  remove(): Promise<void>
  /** What it has printed since the first start. */
  logs(): string
  /** Only with `pipedLogs`. */
  logReader?: LogReader
}

/** Who reads what a replica prints, as a supervisor or a log shipper does. */
export interface LogReader {
  /** Reads no more: the pipe fills. */
  stall(): void
  goOn(): void
  /** Closes its end for good, until the replica is started again. */
  leave(): void
}

/** Resolves when it is ready; throws with the end of the log when the process ends first or the time is up. */
export async function waitUntilReady(replica: Replica, timeoutMs = 30_000): Promise<void> {
  const deadline = Date.now() + timeoutMs
  let last = 'no answer'
  while (Date.now() < deadline && replica.running()) {
    const problem = await readyProblem(replica)
    if (problem === undefined) return
    last = problem || last
    await wait(15)
  }
  const what = replica.running() ? `is not ready after ${timeoutMs} ms (${last})` : 'ended before it was ready'
  throw new Error(`${replica.id} ${what}\n${tail(replica.logs())}`)
}

/** Why it is not ready; empty when nothing answers, `undefined` when it is ready. */
async function readyProblem({ readyUrl, readyAtOnce, internalUrl, address }: Replica): Promise<string | undefined> {
  if (readyAtOnce) return undefined
  const url = readyUrl ?? (internalUrl && `${internalUrl}/readyz`)
  if (!url) return (await accepts(address)) ? undefined : ''
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(1000) })
    const body = await response.text()
    return response.ok ? undefined : `${response.status} ${body.slice(0, 500)}`
  } catch {
    return '' // not listening yet
  }
}

function accepts(address: string): Promise<boolean> {
  const [host, port] = address.split(':')
  return new Promise((resolve) => {
    const socket = connect(Number(port), host, () => resolve(socket.destroy().destroyed))
    socket.on('error', () => resolve(false))
  })
}

export function tail(text: string, lines = 15): string {
  return text.trimEnd().split('\n').slice(-lines).join('\n')
}
