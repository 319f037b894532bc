import { type StdioOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { childrenOf } from '../../../infra/local/nginx-workers.ts'
import { freePort, guard } from '../../../infra/local/processes.ts'
import {
  findBinaries,
  type LocalServer,
  type NginxServer,
  startNginx,
  startPostgres,
  startRedis,
} from '../../../infra/local/servers.ts'
import { connectionsPerAddress, type Driver, type ReplicaSpec, type RunningServer } from './driver.ts'
import { type Replica, waitUntilReady } from './replica.ts'
import { startPostgresPair } from './standby.ts'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const entries = {
  api: { own: 'apps/api/src/main.ts', withParts: 'packages/testing/src/api-process.ts' },
  worker: { own: 'apps/worker/src/main.ts', withParts: 'packages/testing/src/worker-process.ts' },
}

/** Servers and replicas as processes of this machine, all on 127.0.0.1; each ends when this process ends, however it does. */
export async function localDriver(): Promise<Driver> {
  const binaries = await findBinaries((line) => console.log(line))
  const { postgres, redis, nginx } = binaries
  return {
    name: 'local',
    versions: `local processes (Postgres ${postgres.version}, Redis ${redis.version}, NGINX ${nginx.version}, Node ${process.versions.node})`,
    here: { listen: '127.0.0.1', reachedAs: '127.0.0.1' },
    startPostgres: (folder, settings) => {
      const dataDir = join(folder, 'postgres')
      const start = (port?: number) => startPostgres({ binaries, dataDir, port, password: 'test', settings })
      // QUIT is Postgres's own "immediate": with KILL its children would live on for a moment, and stand in the way.
      return faulty(start, { signal: 'SIGQUIT', data: [dataDir] })
    },
    startPostgresPair: (folder, settings) => startPostgresPair({ binaries, folder, settings }),
    startRedis: (folder, settings) => {
      const data = ['appendonlydir', 'appendonly.aof', 'dump.rdb'].map((name) => join(folder, name))
      return faulty((port) => startRedis({ binaries, dir: folder, port, settings }), { signal: 'SIGKILL', data })
    },
    async startNginx(folder, replicas, options) {
      const addresses = (list: Replica[]) => list.map((replica) => replica.address)
      let list = replicas
      let nginx: NginxServer
      const start = async (port?: number) => {
        nginx = await startNginx({
          binaries,
          dir: folder,
          port,
          replicas: addresses(list),
          connectionsPerAddress,
          ...options,
        })
        return nginx
      }
      return {
        ...(await faulty(start, { signal: 'SIGTERM', data: [] })),
        use: (now) => {
          list = now
          return nginx.reload(addresses(list))
        },
        logs: () => read(join(folder, 'error.log')),
        accessLog: async () => read(join(folder, 'access.log')),
      }
    },
    startNetwork: async () => undefined,
    prepare: compileOnce,
    startReplica,
  }
}

/** A server to which things can be done. */
async function faulty(
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

/** Compiled code of what replicas load. Nobody else writes it: most replicas of tests are killed, which leaves them no time to. */
const compileCache = join(root, 'node_modules/.cache/escala')

/** Saves each replica that starts afterwards a third of the processor time of its start. */
async function compileOnce(): Promise<void> {
  const modules = ['api', 'worker'].map((app) => pathToFileURL(join(root, 'apps', app, 'src/compose.ts')).href)
  const text = modules.map((url) => `await import(${JSON.stringify(url)})`).join('\n')
  const env = { PATH: process.env.PATH, NODE_COMPILE_CACHE: compileCache }
  const child = spawn(process.execPath, ['--input-type=module', '-e', text], { stdio: 'ignore', env })
  await once(child, 'exit').catch(() => undefined) // replicas start without it, too
}

async function startReplica(folder: string, spec: ReplicaSpec): Promise<Replica> {
  const { id, role, parts, checkout = root, pipedLogs = false } = spec
  const [port, internalPort] = await Promise.all([freePort(), freePort()])
  const logFile = join(folder, `${id}.log`)
  await mkdir(folder, { recursive: true })
  const env = {
    PATH: process.env.PATH,
    HOME: process.env.HOME,
    TMPDIR: folder, // what a replica leaves on its disk ends with the cluster
    NODE_COMPILE_CACHE: compileCache,
    MALLOC_ARENA_MAX: '1',
    HOST: '127.0.0.1',
    PORT: String(port),
    INTERNAL_PORT: String(internalPort),
    ...(parts ? { LAB_PARTS: parts.href } : {}),
    ...spec.env,
  }
  const entry = join(checkout, parts ? entries[role].withParts : entries[role].own)
  const start = () => run({ cwd: checkout, entry, env, logFile, pipedLogs })
  let current = start()

  const replica: Replica = {
    id,
    role,
    url: role === 'api' ? `http://127.0.0.1:${port}` : '',
    internalUrl: `http://127.0.0.1:${internalPort}`,
    address: `127.0.0.1:${port}`,
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
      current = start()
      await waitUntilReady(replica)
    },
    async remove() {
      if (replica.running()) await replica.kill()
    },
    logs: () => read(logFile),
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

interface RunOptions {
  cwd: string
  entry: string
  env: NodeJS.ProcessEnv
  logFile: string
  pipedLogs: boolean
}

function run({ cwd, entry, env, logFile, pipedLogs }: RunOptions) {
  const log = openSync(logFile, 'a')
  // A group of its own: Ctrl-C is for the lab, which then ends its replicas in its own order.
  const stdio: StdioOptions = ['ignore', pipedLogs ? 'pipe' : log, log]
  const child = spawn(process.execPath, [entry], { cwd, detached: true, stdio, env })
  child.stdout?.on('data', (chunk: Buffer) => appendFileSync(logFile, chunk))
  closeSync(log)
  const { pid } = child
  if (pid === undefined) throw new Error(`cannot start ${entry}`)
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
    signal: (signal: NodeJS.Signals) => void child.kill(signal),
  }
}

function read(file: string): string {
  return existsSync(file) ? readFileSync(file, 'utf8') : ''
}
