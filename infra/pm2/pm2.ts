import { existsSync, readFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isAlive, run } from '@escala/servers/processes'

const root = fileURLToPath(new URL('../..', import.meta.url))

export interface Pm2Process {
  id: number
  name: string
  pid: number
  status: string
  restarts: number
  internalPort: number
  /** How long PM2 lets it drain before it kills it. */
  killTimeoutMs: number
}

/**
 * Longest times of a command, in milliseconds: a daemon that stands still never answers. A drain comes on top of those that wait for one.
 */
export const pm2Bounds = {
  answerMs: 10_000,
  /** For 32 replicas on few processors; PM2 gives each 20 s to get ready. */
  startMs: 180_000,
  /** Beyond the `kill_timeout` of what is ended. */
  endMs: 20_000,
  /** Beyond the same, for the one that takes its place. */
  reloadMs: 60_000,
}

/** What was asked may have been answered just before the daemon ended. */
const lastWordsMs = 500
/** A client that was asked to end the daemon looks for itself whether it has ended, for three seconds. */
const killMs = 5000

interface CommandOptions {
  /** What `start` hands on to the applications. */
  env?: Record<string, string | undefined>
  signal?: AbortSignal
  /** By default `answerMs`. */
  timeoutMs?: number
}

export interface Pm2 {
  /** The daemon's process, while there is one. */
  daemonPid(): number | undefined
  /** Runs one command of PM2's CLI and gives back what it printed; throws when it fails, or takes longer than `timeoutMs`. */
  command(args: string[], options?: CommandOptions): Promise<string>
  /** Replaces one process on its port, adds `env` to what it had, and resolves when the old one is gone. */
  reload(id: number, env: Record<string, string | undefined>): Promise<void>
  list(name?: string): Promise<Pm2Process[]>
}

/** PM2 with a daemon of its own in `home`, which runs on the same Node as this program. */
export function createPm2(home: string, bounds = pm2Bounds): Pm2 {
  const daemonPid = () => {
    const file = join(home, 'pm2.pid')
    const pid = existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0
    return pid > 0 && isAlive(pid) ? pid : undefined
  }
  const script = async (file: string, args: string[], options: CommandOptions = {}) => {
    const { env = basicEnvironment(), signal, timeoutMs = bounds.answerMs } = options
    // PM2's sockets and logs are for this user alone, and its daemon takes the mask over.
    const shell = ['-c', 'umask 077; exec "$0" "$@"', process.execPath, join(root, file), ...args]
    const ends = args[0] === 'kill'
    const given = new AbortController()
    const late = AbortSignal.timeout(timeoutMs)
    const stopWatching = watchDaemon(daemonPid, ends ? killMs : lastWordsMs, () => given.abort())
    const { code, output } = await run('/bin/sh', shell, {
      cwd: root,
      guarded: true,
      signal: AbortSignal.any([given.signal, late, ...(signal ? [signal] : [])]),
      // Actions in parallel: a stop takes as long as the slowest drain, not as long as all of them.
      env: {
        ...env,
        PATH: [dirname(process.execPath), env.PATH].join(delimiter), // PM2 asks `node --version` whether it may run .ts
        PM2_HOME: home,
        // Replicas accept connections themselves: otherwise the daemon accepts each one and hands it over, and holds up all
        // of them while it stands still.
        NODE_CLUSTER_SCHED_POLICY: 'none',
        PM2_DISCRETE_MODE: 'true',
        PM2_NO_INTERACTION: 'true',
        PM2_CONCURRENT_ACTIONS: '32',
      },
    }).finally(stopWatching)
    if (given.signal.aborted && ends) return output
    if (late.aborted) throw new Error(`${file} ${args.join(' ')}: PM2 did not finish in ${timeoutMs / 1000} s`)
    if (code !== 0 && !given.signal.aborted) throw new Error(`${file} ${args.join(' ')} failed:\n${output.trim()}`)
    // A client whose daemon dies before it has said anything ends without an error.
    if (!ends && (given.signal.aborted || daemonPid() === undefined))
      throw new Error(`${file} ${args.join(' ')}: PM2 has ended meanwhile`)
    return output
  }
  const command = (args: string[], options?: CommandOptions) => script('node_modules/pm2/bin/pm2', args, options)
  return {
    daemonPid,
    command,
    async reload(id, env) {
      const { killTimeoutMs = 0 } = (await list()).find((one) => one.id === id) ?? {}
      const timeoutMs = killTimeoutMs + bounds.reloadMs
      await script('infra/pm2/reload.cjs', [String(id)], { env: { ...basicEnvironment(), ...env }, timeoutMs })
    },
    list,
  }

  async function list(name?: string): Promise<Pm2Process[]> {
    if (daemonPid() === undefined) return []
    const output = await command(['jlist', '--silent'])
    const processes = JSON.parse(output.slice(output.indexOf('['))) as JlistEntry[]
    return processes
      .map(({ pm_id, name, pid, pm2_env }) => ({
        id: pm_id,
        name,
        pid,
        status: pm2_env.status,
        restarts: pm2_env.restart_time,
        internalPort: Number(pm2_env.INTERNAL_PORT ?? Number(pm2_env.PORT) + 1000),
        killTimeoutMs: Number(pm2_env.kill_timeout ?? 0),
      }))
      .filter((entry) => name === undefined || entry.name === name)
  }
}

/**
 * Calls `gone` so many milliseconds after the daemon has ended, which one that is being started may do, too: PM2's clients wait for ever
 * for the answer of a daemon that has died. The function that it returns calls that off.
 */
function watchDaemon(daemonPid: () => number | undefined, graceMs: number, gone: () => void): () => void {
  let daemon = daemonPid()
  let ending: NodeJS.Timeout | undefined
  const watching = setInterval(() => {
    const now = daemonPid()
    daemon ??= now
    if (now === daemon) return
    clearInterval(watching)
    ending = setTimeout(gone, graceMs)
  }, 250)
  return () => {
    clearInterval(watching)
    clearTimeout(ending)
  }
}

interface JlistEntry {
  pm_id: number
  name: string
  pid: number
  pm2_env: {
    status: string
    restart_time: number
    kill_timeout?: number
    PORT?: string | number
    INTERNAL_PORT?: string | number
  }
}

/** What a program needs to run at all, and nothing that configures an application by accident. */
export function basicEnvironment(): Record<string, string | undefined> {
  const { PATH, HOME, USER, LANG, TZ, TMPDIR, LD_LIBRARY_PATH } = process.env
  return { PATH, HOME, USER, LANG, TZ, TMPDIR, LD_LIBRARY_PATH }
}
