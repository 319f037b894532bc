import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

export interface ServerProcess {
  pid: number
  running(): boolean
  /** Settles when the process has ended, for whatever reason. */
  exited: Promise<void>
  signal(signal: NodeJS.Signals): void
  /** Sends the signals in turn, `graceMs` apart, and SIGKILL to the whole group at last. Can be called twice. */
  stop(): Promise<void>
}

export interface ServerProcessOptions {
  name: string
  command: string
  args: string[]
  cwd: string
  logFile: string
  env?: Record<string, string | undefined>
  /** From polite to firm. */
  signals: NodeJS.Signals[]
  graceMs?: number
  uid?: number
  gid?: number
}

/** Starts a server in a process group of its own: Ctrl-C, which reaches the whole foreground group, does not reach it. */
export function startProcess(options: ServerProcessOptions): ServerProcess {
  const { name, command, args, cwd, logFile, env, signals, graceMs = 3000, uid, gid } = options
  const log = openSync(logFile, 'a', 0o600)
  const child = spawn(command, args, { cwd, detached: true, stdio: ['ignore', log, log], env, uid, gid })
  closeSync(log)
  let ended = false
  const exited = new Promise<void>((resolve) => {
    const end = () => {
      ended = true
      resolve()
    }
    child.once('exit', end)
    child.once('error', end)
  })
  const pid = child.pid
  if (pid === undefined) throw new Error(`${name} could not be started: ${command}`)
  // The caller waits for what it needs; a forgotten server must not keep a finished program alive, and the guard ends it.
  child.unref()
  const release = guard(pid, signals[0] ?? 'SIGTERM')
  void exited.then(release)
  const stop = async () => {
    for (const signal of signals) {
      if (ended) return
      child.kill(signal)
      await endsWithin(exited, graceMs)
    }
    if (!ended) killGroup(pid, 'SIGKILL')
    await exited
  }
  let stopping: Promise<void> | undefined
  return {
    pid,
    running: () => !ended,
    exited,
    signal: (signal) => void child.kill(signal),
    stop() {
      stopping ??= stop()
      return stopping
    },
  }
}

/**
 * Ends process `pid` when this one is gone, also when it was killed: a shell of a few hundred kilobytes waits on a pipe
 * that the kernel closes with us. The function that it returns calls that off.
 */
export function guard(pid: number, signal: NodeJS.Signals, graceMs = 5000): () => void {
  const script = `read -r _ && exit 0
    kill -s ${signal.slice(3)} ${pid}; n=0
    while kill -0 ${pid} 2>/dev/null && [ $n -lt ${Math.ceil(graceMs / 100)} ]; do sleep 0.1; n=$((n + 1)); done
    kill -s KILL -- -${pid} 2>/dev/null; kill -s KILL ${pid} 2>/dev/null`
  const shell = spawn('/bin/sh', ['-c', script], { detached: true, stdio: ['pipe', 'ignore', 'ignore'] })
  shell.on('error', () => undefined)
  shell.stdin.on('error', () => undefined)
  shell.unref()
  const pipe = shell.stdin as typeof shell.stdin & { unref?(): void }
  pipe.unref?.()
  return () => void shell.stdin.end('\n')
}

/** Polls `condition` until it holds; throws with the end of the server's log when the server dies or the time is up. */
export async function waitForServer(
  server: ServerProcess,
  options: { name: string; logFile: string; timeoutMs?: number },
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  const deadline = Date.now() + (options.timeoutMs ?? 15_000)
  while (!(await condition())) {
    if (server.running() && Date.now() < deadline) {
      await wait(25)
      continue
    }
    const what = server.running() ? 'did not answer in time' : 'ended while starting'
    await server.stop()
    throw new Error(`${options.name} ${what}; the end of ${options.logFile}:\n${tail(options.logFile)}`)
  }
}

export function tail(file: string, lines = 12): string {
  try {
    return readFileSync(file, 'utf8').trimEnd().split('\n').slice(-lines).join('\n')
  } catch {
    return '(no log)'
  }
}

/** Runs a program to its end, out of Ctrl-C's reach; `output` is what it printed on both streams. */
export async function run(
  command: string,
  args: string[],
  options: {
    cwd?: string
    env?: Record<string, string | undefined>
    uid?: number
    gid?: number
    timeoutMs?: number
    signal?: AbortSignal
    /** Ends it with this program, however that ends; not what it has started in a session of its own. */
    guarded?: boolean
  } = {},
): Promise<{ code: number; output: string }> {
  const { timeoutMs, guarded = false, ...rest } = options
  const child: ChildProcess = spawn(command, args, {
    ...rest,
    detached: true,
    timeout: timeoutMs,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  if (guarded && child.pid !== undefined) child.once('close', guard(child.pid, 'SIGTERM', 1000))
  let output = ''
  child.stdout?.on('data', (chunk) => (output += chunk))
  child.stderr?.on('data', (chunk) => (output += chunk))
  const code = await new Promise<number>((resolve) => {
    child.once('error', (error) => {
      output += error.message
      resolve(127)
    })
    child.once('close', (status) => resolve(status ?? 1))
  })
  return { code, output }
}

const firstPort = 15_000
const ports = 17_000
let lastPort = Math.floor(Math.random() * ports)

/**
 * A port that is free now, outside of the range from which the kernel takes ports for outgoing connections.
 * Each one is given out once, in turn: who asked for it has not opened it yet when the next one is asked for.
 */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < 100; tries++) {
    lastPort = (lastPort + 1) % ports
    const port = firstPort + lastPort
    if (await isFree(port)) return port
  }
  throw new Error('no free port was found')
}

/** The first of `count` ports in a row that are all free, `from` or later. */
export async function freeRange(from: number, count: number): Promise<number> {
  for (let first = from; first + count < 65_536; first++) {
    const ports = Array.from({ length: count }, (_, index) => first + index)
    const free = await Promise.all(ports.map((port) => isFree(port)))
    const taken = free.lastIndexOf(false)
    if (taken === -1) return first
    first += taken
  }
  throw new Error(`no ${count} free ports in a row from ${from}`)
}

export function isFree(port: number, host = '127.0.0.1'): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer()
    probe.once('error', () => resolve(false))
    probe.listen(port, host, () => probe.close(() => resolve(true)))
  })
}

/** Whether a process runs; one that has ended and waits for its parent to notice (a zombie) does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
  try {
    return !/^\d+ \(.*\) Z/s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return process.platform !== 'linux' // no /proc elsewhere; here it ended just now
  }
}

function killGroup(pid: number, signal: NodeJS.Signals) {
  try {
    process.kill(-pid, signal)
  } catch {
    // gone already
  }
}

async function endsWithin(exited: Promise<void>, timeoutMs: number) {
  const timeout = new AbortController()
  await Promise.race([exited, wait(timeoutMs, undefined, { signal: timeout.signal }).catch(() => undefined)])
  timeout.abort()
}
