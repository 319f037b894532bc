import type { Replica } from './replica.ts'
import type { RunningServer } from './server-faults.ts'
import type { PostgresPair } from './standby.ts'

/** How the servers and replicas of labs and tests run: as containers, or as processes of this machine. */
export type DriverName = 'docker' | 'local'

export interface ReplicaSpec {
  id: string
  role: Replica['role']
  /** A module whose `apiParts` or `workerParts` take the place of the kit's. */
  parts?: URL
  env: Record<string, string>
  network?: Network
  /** The folder of another version of the code. Local processes only. */
  checkout?: string
  /** See `LogReader`. Local processes only. */
  pipedLogs?: boolean
}

/** A network in which replicas share a name that a DNS server resolves. Local processes have none. */
export interface Network {
  name: string
  stop(): Promise<void>
}

export interface NginxOptions {
  /** Other values for single directives of `infra/nginx`. */
  settings?: Record<string, string | undefined>
  /** Another configuration as a whole. */
  conf?: (listen: string, replicas: string[]) => string
  /**
   * How NGINX learns who comes and goes. Default: the list of addresses is rewritten and NGINX reloads, so that a lab knows
   * since when NGINX knows. `resolve`: in containers it asks Docker's name server, as in compose; for local processes the
   * default, since the NGINX of many distributions cannot. `once`: it goes on with what it found at its start.
   */
  discovery?: 'resolve' | 'once'
}

/** Every client of a lab comes from one address. */
export const connectionsPerAddress = 65_535

export interface Balancer extends RunningServer {
  /** Goes on with these replicas; requests in flight are finished. */
  use(replicas: Replica[]): Promise<void>
  logs(): string
  /** One JSON line per request, where the configuration is the kit's. */
  accessLog(): Promise<string>
}

/** What differs between processes and containers. `folder` is the cluster's own, for logs and data. */
export interface Driver {
  name: DriverName
  /** For people: `local processes (Postgres 15.18, …)` */
  versions: string
  /** Servers inside of this process, such as fault proxies: where they listen, and where a replica finds them. */
  here: { listen: string; reachedAs: string }
  startPostgres(folder: string, settings: Record<string, string>): Promise<RunningServer>
  /** Starts a primary and a hot standby of it. Local processes only. */
  startPostgresPair?(folder: string, settings: Record<string, string>): Promise<PostgresPair>
  startRedis(folder: string, settings: Record<string, string>): Promise<RunningServer>
  startNginx(folder: string, replicas: Replica[], options: NginxOptions, network?: Network): Promise<Balancer>
  startNetwork(): Promise<Network | undefined>
  /** Once, before the first replica. */
  prepare(): Promise<void>
  /** Resolves as soon as it runs, which is before it is ready. */
  startReplica(folder: string, spec: ReplicaSpec): Promise<Replica>
}

const answerWithinMs = 3000

/** `LABS` decides when it is set; else containers are taken where a Docker engine answers. */
export async function chooseDriver(wish: string | undefined): Promise<DriverName> {
  if (wish === 'docker' || wish === 'local') return wish
  if (wish) throw new Error(`LABS must be docker or local, not ${wish}`)
  return (await dockerAnswers()) ? 'docker' : 'local'
}

async function dockerAnswers(): Promise<boolean> {
  const { default: Docker } = await import('dockerode')
  return new Docker({ timeout: answerWithinMs }).ping().then(
    () => true,
    () => false,
  )
}
