import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type BackingServers, type BackingServersOptions, startBackingServers } from './backing-servers.ts'
import { type CleanUps, createCleanUps } from './clean-ups.ts'
import type { NginxOptions } from './driver.ts'
import { type Environment, environment } from './environment.ts'
import type { FaultProxy } from './fault-proxy.ts'
import { createMembers } from './members.ts'
import type { MailControl } from './peers/mail.ts'
import type { PaymentsControl } from './peers/payments.ts'
import { type Replica, tail } from './replica.ts'
import type { ServerFaults } from './server-faults.ts'
import type { PostgresPair } from './standby.ts'

export type { Replica } from './replica.ts'

export type ServerName = 'postgres' | 'redis' | 'cacheRedis' | 'nginx'

export interface ClusterOptions extends Partial<BackingServersOptions> {
  /** API replicas; default 3. */
  replicas?: number
  /** Default 0. With workers there are `peers`, unless this says otherwise. */
  workers?: number
  /** A module whose `apiParts` and `workerParts` take the place of the kit's: `new URL('./naive.ts', import.meta.url)`. Only with `naive*.ts` may they keep state in the process. */
  parts?: URL
  /** The folder of another version of the code: its migrate step makes the database, and its first processes start from it. Local processes only. */
  checkout?: string
  /** For the API, over what the harness gives it. */
  env?: Record<string, string>
  workerEnv?: Record<string, string>
  /** What replicas print goes through a pipe whose reader can stand still or go away. Local processes only. */
  pipedLogs?: boolean
  nginx?: NginxOptions
}

export interface AddOptions {
  parts?: URL
  /** The folder of another version of the code. Local processes only. */
  checkout?: string
  env?: Record<string, string>
  /** Default true: resolves when it is ready, and NGINX knows it. */
  waitUntilReady?: boolean
}

export interface Cluster {
  /** NGINX. */
  url: string
  /** Those that NGINX knows, the oldest first. */
  replicas: Replica[]
  workers: Replica[]
  /** For the test itself, past any fault. Of a pair, the server that takes writes. */
  databaseUrl: string
  redisUrl: string
  cacheRedisUrl: string
  /** These three need `faults: true`. */
  postgresProxy: FaultProxy
  redisProxy: FaultProxy
  cacheRedisProxy: FaultProxy
  /** Needs `database: { standby: true }`, and `faults: true` for an address that can lead to either of the two servers. */
  postgresPair: PostgresPair
  /** These two need `peers: true`. */
  payments: PaymentsControl
  mail: MailControl
  /** As processes only; Postgres's needs `database`, since others use the one that all share. */
  server(name: ServerName): ServerFaults
  /** Removes the newest first: NGINX forgets them, then they drain. */
  scale(replicas: number): Promise<void>
  addReplica(options?: AddOptions): Promise<Replica>
  addWorker(options?: AddOptions): Promise<Replica>
  /** NGINX forgets it, then it drains; resolves with its exit code. */
  remove(replica: Replica): Promise<number>
  /**
   * One after the other: starts a new replica, waits until it is ready, adds it to NGINX, drains the old one.
   * Resolves with the exit codes of the old ones; throws when a new one does not become ready, and leaves the old one serving.
   */
  rollingRestart(options?: Pick<AddOptions, 'parts' | 'env'>): Promise<number[]>
  /** The end of every log. */
  logs(): string
  /** NGINX's: one JSON line per request. */
  accessLog(): Promise<string>
  stop(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

const ordinaryRequests = /^.*"status":[1-4]\d\d,.*"msg":"request"}\n/gm

const stops = new Set<() => Promise<void>>()

/** For a process that is stopped in the middle of something. */
export async function stopClusters(): Promise<void> {
  await Promise.all([...stops].map((stop) => stop()))
}

/** A whole system with data of its own: NGINX, replicas, workers, two Redis servers, a database. Resolves when all are ready. */
export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const shared = await environment()
  const folder = await mkdtemp(join(tmpdir(), 'escala-cluster-'))
  const cleanUps = createCleanUps()
  const stop = async () => {
    await cleanUps.run()
    await starting.catch(() => undefined)
    await cleanUps.run() // what had been about to start
    await rm(folder, { recursive: true, force: true })
    stops.delete(stop)
  }
  stops.add(stop)
  const starting = start(options, { ...shared, folder, cleanUps, stop })
  try {
    return await starting
  } catch (error) {
    await stop()
    throw error
  }
}

interface Own extends Environment {
  /** Of this cluster alone: logs and data. */
  folder: string
  cleanUps: CleanUps
  stop(): Promise<void>
}

async function start(options: ClusterOptions, own: Own): Promise<Cluster> {
  const { driver, folder, cleanUps, stop } = own
  const { workers: workerCount = 0, peers = workerCount > 0, faults = false, database, oneRedis, checkout } = options
  const backing = await startBackingServers(own, folder, cleanUps, { peers, faults, database, oneRedis, checkout })
  const network = options.nginx?.discovery && (await driver.startNetwork())
  if (network) cleanUps.keep(network)
  const environments = environmentsOf(options, backing)
  const counts = { api: 0, worker: 0 }
  const members = createMembers<AddOptions>({
    async start(role, { parts = options.parts, checkout, env }) {
      const id = `${role}-${++counts[role]}`
      // The guard refuses a second replica that keeps its state to itself. That is the point of a naive half, and of no other.
      const guard: Record<string, string> = parts && isNaive(parts) ? { ALLOW_PROCESS_SCOPE: '1' } : {}
      const replica = await driver.startReplica(folder, {
        id,
        role,
        parts,
        network,
        checkout,
        pipedLogs: options.pipedLogs,
        env: { REPLICA_ID: id, ...guard, ...environments[role], ...env },
      })
      cleanUps.keep({ stop: replica.remove })
      return replica
    },
    use: async (replicas) => {
      if (options.nginx?.discovery !== 'once') await nginx.use(replicas)
    },
  })
  const { replicas, workers } = members
  const [first, firstWorkers] = await Promise.all([
    members.launch('api', options.replicas ?? 3, { checkout }),
    members.launch('worker', workerCount, { checkout }),
  ])
  replicas.push(...first)
  workers.push(...firstWorkers)
  const nginx = cleanUps.keep(await driver.startNginx(join(folder, 'nginx'), replicas, options.nginx ?? {}, network))
  return {
    url: nginx.url,
    replicas,
    workers,
    get databaseUrl() {
      return primaryUrl(backing)
    },
    redisUrl: backing.redisUrl,
    cacheRedisUrl: backing.cacheRedisUrl,
    get postgresProxy() {
      return required(backing.postgresProxy, 'faults: true')
    },
    get redisProxy() {
      return required(backing.redisProxy, 'faults: true')
    },
    get cacheRedisProxy() {
      return required(backing.cacheRedisProxy, 'faults: true')
    },
    get postgresPair() {
      return required(backing.pair, '`database: { standby: true }`')
    },
    get payments() {
      return required(backing.payments, 'peers: true')
    },
    get mail() {
      return required(backing.mail, 'peers: true')
    },
    server: (name) => {
      const faults = { ...backing.servers, nginx }[name]?.faults
      return required(name === 'postgres' ? (backing.pair?.primary ?? faults) : faults, '`database`, as processes')
    },
    scale: members.scale,
    addReplica: members.addReplica,
    addWorker: members.addWorker,
    remove: members.remove,
    rollingRestart: members.rollingRestart,
    logs: () => `${members.logs(ordinaryRequests)}\n── nginx\n${tail(nginx.logs(), 40)}`,
    accessLog: nginx.accessLog,
    stop,
    [Symbol.asyncDispose]: stop,
  }
}

function environmentsOf(options: ClusterOptions, backing: { env: object; peersEnv: object }) {
  const processes = (options.replicas ?? 3) + (options.workers ?? 0)
  // Room for one more of each, and for those that were killed, which count until their heartbeat is too old.
  const places: Record<string, string> = processes > 4 ? { MAX_PROCESSES: String(2 * processes) } : {}
  const common = { NODE_ENV: 'production', VERSION: 'lab', HEARTBEAT_MS: '1000', ...places, ...backing.env }
  return {
    api: {
      ...common,
      ...backing.peersEnv, // for parts that do the worker's work
      SESSION_SECRETS: randomBytes(32).toString('hex'),
      RATE_LIMIT_PER_MINUTE: '1000000',
      EXPOSE_REPLICA: '1',
      REFUSE_MS: '200',
      MAX_LOOP_DELAY_MS: '10000', // this machine runs the clients, too: being late is no reason to shed
      ...options.env,
    },
    worker: { ...common, ...backing.peersEnv, MAIL_FROM: 'lab@example.com', ...options.workerEnv },
  }
}

function primaryUrl({ databaseUrl, pair }: Pick<BackingServers, 'databaseUrl' | 'pair'>): string {
  if (pair === undefined) return databaseUrl
  const url = new URL(databaseUrl)
  url.port = new URL(pair.primaryUrl()).port
  return url.href
}

function required<T>(part: T | undefined, option: string): T {
  if (part === undefined) throw new Error(`start the cluster with ${option}`)
  return part
}

function isNaive(parts: URL): boolean {
  return /\/naive[^/]*$/.test(parts.pathname)
}
