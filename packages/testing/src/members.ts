import type { Replica } from './replica.ts'
import { tail, waitUntilReady } from './replica.ts'

export interface MembersOptions<Add> {
  /** Starts one process; it need not be ready. */
  start(role: Replica['role'], add: Add): Promise<Replica>
  /** Makes the load balancer go on with these, the oldest first. */
  use(replicas: Replica[]): Promise<void>
}

interface Waiting {
  /** Default true: resolves when it is ready, and the load balancer knows it. */
  waitUntilReady?: boolean
}

/** The replicas and workers of one cluster, which come and go. */
export interface Members<Add extends Waiting> {
  /** Those that the load balancer knows, the oldest first. */
  replicas: Replica[]
  workers: Replica[]
  /** Starts so many of a kind at the same time, and resolves when they are ready. The load balancer does not learn of them. */
  launch(role: Replica['role'], count: number, add?: Add): Promise<Replica[]>
  addReplica(add?: Add): Promise<Replica>
  addWorker(add?: Add): Promise<Replica>
  remove(replica: Replica): Promise<number>
  scale(replicas: number): Promise<void>
  rollingRestart(add?: Add): Promise<number[]>
  /** The end of every log, without the lines that `without` matches. */
  logs(without?: RegExp): string
}

export function createMembers<Add extends Waiting>({ start, use }: MembersOptions<Add>): Members<Add> {
  const replicas: Replica[] = []
  const workers: Replica[] = []
  const everyone: Replica[] = []
  let telling: Promise<void> = Promise.resolve()
  // One after another, even if several are added at the same time: they share one file.
  const tell = () => {
    telling = telling.catch(() => undefined).then(() => use(replicas))
    return telling
  }

  const launchOne = async (role: Replica['role'], add: Add) => {
    const replica = await start(role, add)
    everyone.push(replica)
    const { restart, address } = replica
    replica.restart = async () => {
      await restart()
      if (replica.address !== address) await tell() // a container may come back with another one
    }
    if (add.waitUntilReady !== false) await waitUntilReady(replica)
    return replica
  }
  const launch = (role: Replica['role'], count: number, add: Add = {} as Add) =>
    Promise.all(Array.from({ length: Math.max(0, count) }, () => launchOne(role, add)))

  const replace = async (old: Replica, add: Add) => {
    const fresh = await launchOne('api', { ...add, waitUntilReady: false })
    await waitUntilReady(fresh).catch(async (error) => {
      await fresh.kill()
      throw error
    })
    replicas.splice(replicas.indexOf(old), 1, fresh)
    await tell()
    return await old.terminate()
  }
  return {
    replicas,
    workers,
    launch,
    async addReplica(add = {} as Add) {
      const replica = await launchOne('api', add)
      if (add.waitUntilReady === false) return replica
      replicas.push(replica)
      await tell()
      return replica
    },
    async addWorker(add = {} as Add) {
      const worker = await launchOne('worker', add)
      workers.push(worker)
      return worker
    },
    async remove(replica) {
      replicas.splice(replicas.indexOf(replica), 1)
      await tell()
      return await replica.terminate()
    },
    async scale(count) {
      const leaving = replicas.splice(count)
      replicas.push(...(await launch('api', count - replicas.length)))
      await tell()
      await Promise.all(leaving.map((replica) => replica.terminate()))
    },
    async rollingRestart(add = {} as Add) {
      const codes: number[] = []
      for (const old of [...replicas]) codes.push(await replace(old, add))
      return codes
    },
    logs: (without) =>
      everyone
        .map((replica) => ({ id: replica.id, text: replica.logs() }))
        .map(({ id, text }) => `── ${id}\n${tail(without ? text.replace(without, '') : text, 40)}`)
        .join('\n'),
  }
}
