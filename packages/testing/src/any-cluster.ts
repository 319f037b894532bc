import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { type Binaries, findThese } from '@escala/servers/binaries'
import { startNginx } from '@escala/servers/nginx'
import type { NginxOptions } from '@escala/servers/nginx-config'
import { startPostgres } from '@escala/servers/postgres'
import { freePort, run } from '@escala/servers/processes'
import { startRedis } from '@escala/servers/redis'
import { type CleanUps, createCleanUps } from './clean-ups.ts'
import { type FaultProxy, startFaultProxy } from './fault-proxy.ts'
import { createMembers } from './members.ts'
import { startProcessReplica } from './process-replica.ts'
import { type Replica, tail } from './replica.ts'
import { type RunningServer, type ServerFaults, withFaults } from './server-faults.ts'

export type { FaultProxy } from './fault-proxy.ts'
export type { Replica } from './replica.ts'
export type { ServerFaults } from './server-faults.ts'

/** A program and its arguments, without a shell: `['node', 'server.js']`. */
export type Command = [string, ...string[]]
type Env = Record<string, string | undefined>

export interface WorkerOptions {
  command: Command
  /** Default 1. */
  count?: number
  env?: Env
  /** The variable that gets a free port for its readiness, and the path there. Default: it is ready as soon as it runs. */
  ready?: { portEnv: string; path: string }
}

export interface ClusterOptions {
  /** The program of one replica, in any language. It listens on 127.0.0.1, on the port in `PORT`. */
  command: Command
  /** Where it runs; default: the working directory of the test. */
  cwd?: string
  /** 1 to 32; default 3. */
  replicas?: number
  /** For replicas and workers, beside `PATH`, `HOME`, `PORT`, `REPLICA_ID` and the addresses of the servers. Nothing else is inherited. */
  env?: Env
  /** The variable that holds the port; default `PORT`. */
  portEnv?: string
  /** The argument that the port follows, for programs that read no variable: `--port`. */
  portFlag?: string
  /** GET on this path answers 2xx once the replica is ready. Default: it is ready when it accepts connections. */
  readyPath?: string
  /** Answers `readyPath` on a port of its own, which this variable holds. */
  readyPortEnv?: string
  /** NGINX in front of all: `true` for Escala's configuration, or your own, whose relative paths begin in a folder of this cluster. */
  nginx?: boolean | { conf?: (listen: string, replicas: string[]) => string; settings?: NginxOptions['settings'] }
  /** A Postgres server of its own, in `DATABASE_URL`; settings by name, as in postgresql.conf. */
  postgres?: boolean | { settings?: Record<string, string> }
  /** A Redis server of its own, in `REDIS_URL`; settings by name, as in redis.conf. */
  redis?: boolean | { settings?: Record<string, string> }
  /** Puts a proxy before Postgres and Redis that can cut, hang, silence and delay connections. */
  faults?: boolean
  /** Runs to its end before the first replica starts, with what replicas get: a migration. Throws with its output when it fails. */
  prepare?: Command
  worker?: WorkerOptions
}

export interface AddOptions {
  /** Another program than the others have: the next version. */
  command?: Command
  env?: Env
  /** Default true: resolves when it is ready, and NGINX knows it. */
  waitUntilReady?: boolean
}

export interface Cluster {
  /** NGINX's address. Needs `nginx`. */
  url: string
  /** Those that NGINX knows, the oldest first; each has a `url` of its own. */
  replicas: Replica[]
  workers: Replica[]
  /** For the test itself, past any fault. */
  databaseUrl: string
  redisUrl: string
  /** These two need `faults`. */
  postgresProxy: FaultProxy
  redisProxy: FaultProxy
  /** To crash, empty or pause a server. */
  server(name: 'postgres' | 'redis' | 'nginx'): ServerFaults
  addReplica(options?: AddOptions): Promise<Replica>
  /** NGINX forgets it, then it gets SIGTERM; resolves with its exit code. */
  remove(replica: Replica): Promise<number>
  /** Removes the newest first. */
  scale(replicas: number): Promise<void>
  /** One after the other: starts a new one, waits until it is ready, adds it to NGINX, ends the old one. Resolves with their exit codes. */
  rollingRestart(options?: Pick<AddOptions, 'command' | 'env'>): Promise<number[]>
  /** The end of every log. */
  logs(): string
  /** Ends everything. Can be called twice. */
  stop(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** For a server whose data lives as long as a test. */
const postgresSettings = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', max_connections: '200' }

/**
 * Starts N copies of a program as processes of this machine, with the servers that it needs, and resolves when all are ready. Everything
 * ends with `stop`, and with this process, however it ends. Throws with the end of the log of what did not become ready.
 */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const { replicas: count = 3 } = options
  if (!Number.isInteger(count) || count < 1 || count > 32) throw new Error('replicas: a whole number from 1 to 32')
  const folder = await mkdtemp(join(tmpdir(), 'escala-cluster-'))
  const cleanUps = createCleanUps()
  let stopping: Promise<void> | undefined
  const stop = () => {
    stopping ??= cleanUps.run().finally(() => rm(folder, { recursive: true, force: true }))
    return stopping
  }
  try {
    return await start(options, count, folder, cleanUps, stop)
  } catch (error) {
    await stop()
    throw error
  }
}

async function start(
  options: ClusterOptions,
  count: number,
  folder: string,
  { keep }: CleanUps,
  stop: () => Promise<void>,
): Promise<Cluster> {
  const { cwd = process.cwd(), portEnv = 'PORT', portFlag, readyPath, readyPortEnv, worker } = options
  const servers = await startServers(options, folder, keep)
  const common: Env = {
    PATH: [dirname(process.execPath), process.env.PATH].join(delimiter), // `node` is this one
    HOME: process.env.HOME,
    TMPDIR: folder, // what a replica leaves on its disk ends with the cluster
    ...servers.env,
    ...options.env,
  }
  if (options.prepare) await prepare(options.prepare, cwd, common)

  const counts = { api: 0, worker: 0 }
  const startOne = async (role: Replica['role'], add: AddOptions) => {
    const id = `${role}-${++counts[role]}`
    const [port, readyPort] = await Promise.all([freePort(), freePort()])
    const ofWorker = role === 'worker' ? worker : undefined
    const [program, ...args] = add.command ?? ofWorker?.command ?? options.command
    const readyPortVariable = ofWorker ? ofWorker.ready?.portEnv : readyPortEnv
    const path = ofWorker ? ofWorker.ready?.path : readyPath
    const replica = await startProcessReplica(folder, {
      id,
      role,
      command: ofWorker || !portFlag ? [program, ...args] : [program, ...args, portFlag, String(port)],
      cwd,
      address: `127.0.0.1:${port}`,
      readyUrl: path && `http://127.0.0.1:${readyPortVariable ? readyPort : port}${path}`,
      readyAtOnce: ofWorker !== undefined && path === undefined,
      logFile: join(folder, `${id}.log`),
      env: {
        ...common,
        REPLICA_ID: id,
        ...(ofWorker ? {} : { [portEnv]: String(port) }),
        ...(readyPortVariable ? { [readyPortVariable]: String(readyPort) } : {}),
        ...ofWorker?.env,
        ...add.env,
      },
    })
    keep({ stop: replica.remove })
    return replica
  }
  const members = createMembers<AddOptions>({ start: startOne, use: async (list): Promise<void> => nginx?.use(list) })
  const { replicas, workers } = members
  const [first, firstWorkers] = await Promise.all([
    members.launch('api', count),
    members.launch('worker', worker ? (worker.count ?? 1) : 0),
  ])
  replicas.push(...first)
  workers.push(...firstWorkers)
  const nginx: Balancer | undefined = options.nginx
    ? keep(await startBalancer(options, servers, folder, replicas))
    : undefined
  const { addReplica, remove, scale, rollingRestart } = members
  return {
    get url() {
      return required(nginx, 'nginx').url
    },
    replicas,
    workers,
    get databaseUrl() {
      return required(servers.postgres, 'postgres').url
    },
    get redisUrl() {
      return required(servers.redis, 'redis').url
    },
    get postgresProxy() {
      return required(servers.postgresProxy, 'postgres` and `faults')
    },
    get redisProxy() {
      return required(servers.redisProxy, 'redis` and `faults')
    },
    server: (name) => required({ ...servers, nginx }[name]?.faults, name),
    addReplica,
    remove,
    scale,
    rollingRestart,
    logs: () => members.logs(),
    stop,
    [Symbol.asyncDispose]: stop,
  }
}

interface Servers {
  /** Only what is needed. */
  binaries: Binaries
  postgres?: RunningServer
  redis?: RunningServer
  postgresProxy?: FaultProxy
  redisProxy?: FaultProxy
  env: Env
}

async function startServers(options: ClusterOptions, folder: string, keep: CleanUps['keep']): Promise<Servers> {
  const { postgres, redis, nginx, faults } = options
  if (!postgres && !redis && !nginx) return { binaries: {} as Binaries, env: {} }
  const wanted = { postgres, redis, nginx }
  const needed = (Object.keys(wanted) as (keyof Binaries)[]).filter((name) => wanted[name])
  const binaries = (await findThese(needed, (line) => console.error(line))) as Binaries
  const settingsOf = (server: boolean | { settings?: Record<string, string> }) =>
    typeof server === 'object' ? server.settings : undefined
  const startOwnPostgres = async (wish: NonNullable<typeof postgres>) => {
    const dataDir = join(folder, 'postgres')
    const settings = { ...postgresSettings, ...settingsOf(wish) }
    const begin = (port?: number) => startPostgres({ binaries, dataDir, port, password: 'test', settings })
    return keep(await withFaults(begin, { signal: 'SIGQUIT', data: [dataDir] }))
  }
  const startOwnRedis = async (wish: NonNullable<typeof redis>) => {
    const dir = join(folder, 'redis')
    const data = ['appendonlydir', 'dump.rdb'].map((name) => join(dir, name))
    const begin = (port?: number) => startRedis({ binaries, dir, port, settings: settingsOf(wish) })
    return keep(await withFaults(begin, { signal: 'SIGKILL', data }))
  }
  const proxyOf = async (server: RunningServer | undefined) =>
    server && faults ? keep(await startFaultProxy({ target: server.url })) : undefined
  const [ownPostgres, ownRedis] = await Promise.all([
    postgres ? startOwnPostgres(postgres) : undefined,
    redis ? startOwnRedis(redis) : undefined,
  ])
  const [postgresProxy, redisProxy] = await Promise.all([proxyOf(ownPostgres), proxyOf(ownRedis)])
  return {
    binaries,
    postgres: ownPostgres,
    redis: ownRedis,
    postgresProxy,
    redisProxy,
    env: {
      ...(ownPostgres && { DATABASE_URL: postgresProxy?.url ?? ownPostgres.url }),
      ...(ownRedis && { REDIS_URL: redisProxy?.url ?? ownRedis.url }),
    },
  }
}

interface Balancer extends RunningServer {
  use(replicas: Replica[]): Promise<void>
}

async function startBalancer(
  options: ClusterOptions,
  { binaries }: Servers,
  folder: string,
  first: Replica[],
): Promise<Balancer> {
  const { conf, settings } = typeof options.nginx === 'object' ? options.nginx : {}
  const addresses = (list: Replica[]) => list.map((replica) => replica.address)
  let list = first
  let reload: (replicas: string[]) => Promise<void> = async () => undefined
  const begin = async (port?: number) => {
    const server = await startNginx({
      binaries,
      dir: join(folder, 'nginx'),
      port,
      replicas: addresses(list),
      connectionsPerAddress: 65_535, // every client of a test comes from one address
      settings,
      conf,
    })
    reload = server.reload
    return server
  }
  return {
    ...(await withFaults(begin, { signal: 'SIGTERM', data: [] })),
    async use(now: Replica[]) {
      list = now
      await reload(addresses(now))
    },
  }
}

async function prepare([program, ...args]: Command, cwd: string, env: Env): Promise<void> {
  const { code, output } = await run(program, args, { cwd, env, timeoutMs: 120_000 })
  if (code !== 0) throw new Error(`${[program, ...args].join(' ')} failed:\n${tail(output, 40)}`)
}

function required<T>(part: T | undefined, option: string): T {
  if (part === undefined) throw new Error(`start the cluster with \`${option}\``)
  return part
}
