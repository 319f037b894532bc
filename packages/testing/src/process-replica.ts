import { type StdioOptions, spawn } from 'node:child_process'
import { appendFileSync, closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { guard } from '@escala/servers/processes'
import { type Replica, waitUntilReady } from './replica.ts'

export interface ProcessReplicaSpec {
  id: string
  role: Replica['role']
  /** The program and its arguments. */
  command: [string, ...string[]]
  cwd: string
  /** All that it gets: nothing is inherited. */
  env: Record<string, string | undefined>
  /** Where it listens for requests: `127.0.0.1:15001`. */
  address: string
  /** Where it answers whether it is ready; without, it is ready when it accepts connections. */
  readyUrl?: string
  internalUrl?: string
  logFile: string
  /** Nothing says when it is ready: it is as soon as it runs. */
  readyAtOnce?: boolean
  /** See `LogReader`. */
  pipedLogs?: boolean
}

/** Starts one replica as a process of this machine, in a group of its own. It ends with this process, however that ends. */
export async function startProcessReplica(folder: string, spec: ProcessReplicaSpec): Promise<Replica> {
  const { id, role, address, logFile, pipedLogs = false } = spec
  await mkdir(folder, { recursive: true })
  let current = run(spec)

  const replica: Replica = {
    id,
    role,
    url: role === 'api' ? `http://${address}` : '',
    internalUrl: spec.internalUrl ?? '',
    readyUrl: spec.readyUrl,
    readyAtOnce: spec.readyAtOnce,
    address,
    get pid() {
      return current.pid
    },
    running: () => current.running(),
    exited: () => current.exited,
    async kill() {
      current.signal('SIGKILL')
      await current.exited
    },
    async pause() {
      current.signal('SIGSTOP')
    },
    async resume() {
      current.signal('SIGCONT')
    },
    async terminate() {
      current.signal('SIGTERM')
      return await current.exited
    },
    async restart() {
      await replica.kill()
      current = run(spec)
      await waitUntilReady(replica)
    },
    async remove() {
      if (replica.running()) await replica.kill()
    },
    logs: () => (existsSync(logFile) ? readFileSync(logFile, 'utf8') : ''),
    ...(pipedLogs && {
      logReader: {
        stall: () => void current.output?.pause(),
        goOn: () => void current.output?.resume(),
        leave: () => void current.output?.destroy(),
      },
    }),
  }
  return replica
}

function run({ command: [program, ...args], cwd, env, logFile, pipedLogs }: ProcessReplicaSpec) {
  const log = openSync(logFile, 'a')
  // A group of its own: Ctrl-C is for the test, which then ends its replicas in its own order, with all that they started.
  const stdio: StdioOptions = ['ignore', pipedLogs ? 'pipe' : log, log]
  const child = spawn(program, args, { cwd, detached: true, stdio, env })
  child.stdout?.on('data', (chunk: Buffer) => appendFileSync(logFile, chunk))
  child.on('error', (error) => appendFileSync(logFile, `${error.message}\n`))
  closeSync(log)
  const { pid } = child
  if (pid === undefined) throw new Error(`cannot start ${program}: is it installed, and on PATH?`)
  const release = guard(pid, 'SIGKILL')
  let running = true
  const exited = new Promise<number>((resolve) => {
    child.once('exit', (code) => {
      running = false
      release()
      resolve(code ?? 137)
    })
  })
  return {
    pid,
    output: child.stdout,
    running: () => running,
    exited,
    /** SIGTERM is for the program alone, which passes it on as it likes; the others reach all that it has started, too. */
    signal(signal: NodeJS.Signals) {
      if (!running) return
      if (signal === 'SIGTERM') child.kill(signal)
      else signalGroup(pid, signal)
    },
  }
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal)
  } catch {
    // it has just ended
  }
}
