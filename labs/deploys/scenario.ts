import { setTimeout as wait } from 'node:timers/promises'
import { type Client, createClient } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import type { Replica } from '@escala/testing/replica'
import { startTraffic } from '@escala/testing/traffic'
import { check, defineLab, type LabContext } from '../lab.ts'

interface Size {
  perSecond: number
  /** Sent at least, by the time that all is done. */
  requests: number
  /** How often all replicas are restarted. */
  rounds: number
  /** NGINX's `fail_timeout`: how long it leaves a replica alone that refused it. */
  failTimeoutMs: number
}

const refuseMs = 1500

export const lab = defineLab<Size>({
  slug: 'deploys',
  problem: 'Each deploy cuts off the requests in flight.',
  sizes: {
    full: { perSecond: 100, requests: 3000, rounds: 2, failTimeoutMs: 5000 },
    test: { perSecond: 60, requests: 200, rounds: 1, failTimeoutMs: 1000 },
  },
  halves: {
    problem: {
      title: (replicas) => `with an exit on SIGTERM, restarting ${replicas} replicas one by one cuts off requests`,
      async run(context) {
        const { cluster, client, traffic } = await start(context, new URL('./naive.ts', import.meta.url))
        await restartAll(cluster, client, context)
        await leave(cluster)
        const { total, failures, failed } = await traffic.stop()
        return [
          check('requests', total, { atLeast: context.size.requests }),
          check('failed', failed, { atLeast: 2 }),
          check('of those, lost with their replica (502)', failures['502 E_REPLICA_LOST'] ?? 0, { atLeast: 2 }),
        ]
      },
    },
    fix: {
      title: (replicas) => `with a drain, restarting ${replicas} replicas one by one cuts none`,
      async run(context) {
        const { cluster, client, traffic } = await start(context, new URL('./slow.ts', import.meta.url))
        const codes = await restartAll(cluster, client, context)
        await cluster.addReplica({ env: { REFUSE_MS: String(refuseMs) } })
        const refusing = watchRefusals(cluster.replicas.at(-1))
        codes.push(await leave(cluster))
        const refusedMs = await refusing
        const left = cluster.replicas.filter((replica) => replica.running())
        // A build that cannot start: the roll-out ends there, and the old replicas have not been touched.
        const broken = { env: { SESSION_SECRETS: 'too short' } }
        const deployed = await cluster.rollingRestart(broken).then(
          () => true,
          () => false,
        )
        const { total, failures, failed, slowestMs } = await traffic.stop()
        if (failed > 0) context.print(`failed: ${JSON.stringify(failures)}`)
        return [
          check('requests', total, { atLeast: context.size.requests }),
          check('failed', failed, { equals: 0 }),
          check('slowest response in ms', slowestMs, { atMost: 1500 }),
          check('replicas that did not exit with 0', codes.filter((code) => code !== 0).length, { equals: 0 }),
          check('how long a leaving replica refused connections, ms', refusedMs, {
            atLeast: refuseMs / 2,
          }),
          check('a build that cannot start was put into service', deployed, { equals: false }),
          check('old replicas that were lost to it', left.filter((replica) => !replica.running()).length, {
            equals: 0,
          }),
        ]
      },
    },
  },
})

async function start({ cluster: startCluster, size }: LabContext<Size>, parts: URL) {
  const settings = { fail_timeout: `${size.failTimeoutMs / 1000}s` }
  const cluster = await startCluster({ parts, nginx: { settings } })
  // A connection for each: adding a replica reloads NGINX, which closes its clients' idle connections, maybe under a write.
  const client = createClient(cluster.url, { keepAlive: false })
  // Writes: NGINX may not send them a second time, so whatever is cut is lost.
  const traffic = startTraffic(size.perSecond, () => client.post('/slow'))
  return { cluster, client, traffic }
}

/** In place, as a process manager does it; NGINX is not notified. Continues when the new one gets its share again. */
async function restartAll(cluster: Cluster, client: Client, { size, progress }: LabContext<Size>): Promise<number[]> {
  const codes: number[] = []
  const restarts = size.rounds * cluster.replicas.length
  for (let round = 0; round < size.rounds; round++) {
    for (const replica of cluster.replicas) {
      codes.push(await replica.terminate())
      await replica.restart()
      while ((await client.get('/slow')).replicaId !== replica.id) await wait(50)
      progress(codes.length, restarts)
    }
  }
  return codes
}

/** From the first connection that it refuses until its process has ended. Where a container was, nothing would answer then. */
async function watchRefusals(replica: Replica | undefined): Promise<number> {
  const isRefused = () =>
    fetch(`${replica?.url}/`, { headers: { connection: 'close' } }).then(
      () => false,
      () => true,
    )
  while (replica?.running() && !(await isRefused())) await wait(10)
  const since = performance.now()
  while (replica?.running()) await wait(10)
  return performance.now() - since
}

/** Scaling down by one, as seen by NGINX: a replica is gone. */
async function leave(cluster: Cluster): Promise<number> {
  const code = (await cluster.replicas.at(-1)?.terminate()) ?? 1
  await wait(500)
  return code
}
