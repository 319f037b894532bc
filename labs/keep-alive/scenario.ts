import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { findBinaries } from '@escala/servers/binaries'
import { startNginx } from '@escala/servers/nginx'
import { createClient } from '@escala/testing/client'
import type { ClusterOptions } from '@escala/testing/cluster'
import { startFaultProxy } from '@escala/testing/fault-proxy'
import { check, defineLab, type LabContext } from '../lab.ts'

interface Size {
  /** When the side that closes first closes an idle connection. */
  edgeMs: number
  sweeps: number
  /** POSTs at once, each over a connection of its own. */
  connections: number
}

export const lab = defineLab<Size>({
  slug: 'keep-alive',
  problem: 'Occasionally a POST fails with a 502, mostly when traffic is low.',
  localOnly: 'the distance between NGINX and the replicas is a proxy inside of this process',
  sizes: {
    full: { edgeMs: 5000, sweeps: 1, connections: 30 },
    test: { edgeMs: 400, sweeps: 1, connections: 20 },
  },
  halves: {
    problem: {
      title: (replicas) => `with ${replicas} replicas that close idle connections first, POSTs fail with 502`,
      async run(context) {
        const parts = new URL('./naive.ts', import.meta.url)
        const env = { LAB_KEEP_ALIVE_MS: String(context.size.edgeMs) }
        const { sent, failed } = await postOverTheEdge(context, { parts, env }, '60s')
        return [check('POSTs', sent, { atLeast: context.size.connections }), check('with 502', failed, { atLeast: 1 })]
      },
    },
    fix: {
      title: (replicas) => `with ${replicas} replicas that wait longer than NGINX, none does`,
      async run(context) {
        // The kit's replicas wait for 75 s; so that the edge comes soon, NGINX waits for less than its own 60 s here.
        const { cluster, sent, failed } = await postOverTheEdge(context, {}, `${context.size.edgeMs}ms`)
        const { headers } = await createClient(cluster.replicas[0]?.url ?? '').get('/v1/session')
        const told = /timeout=(\d+)/.exec(String(headers['keep-alive']))
        return [
          check('POSTs', sent, { atLeast: context.size.connections }),
          check('with 502', failed, { equals: 0 }),
          check("how long a replica says that it waits (s); the kit's NGINX waits for 60 s", Number(told?.[1] ?? 0), {
            atLeast: 61,
          }),
        ]
      },
    },
  },
})

/** Sends POSTs over connections that have been idle for just about `edgeMs`, in steps of 20 ms around it. */
async function postOverTheEdge(context: LabContext<Size>, options: ClusterOptions, pool: string) {
  const { size, progress } = context
  const cluster = await context.cluster(options)
  await using away = await farAway(cluster.replicas, pool)
  const client = createClient(away.url)
  const post = () => Promise.all(Array.from({ length: size.connections }, () => client.post('/v1/nothing')))
  const gaps = Array.from({ length: 11 }, (_, index) => size.edgeMs - 100 + index * 20)

  let sent = 0
  let failed = 0
  await post()
  for (let sweep = 0; sweep < size.sweeps; sweep++) {
    for (const [index, gap] of gaps.entries()) {
      await wait(gap)
      const answers = await post()
      sent += answers.length
      failed += answers.filter(({ status }) => status === 502).length
      progress(sweep * gaps.length + index + 1, size.sweeps * gaps.length)
    }
  }
  return { cluster, sent, failed }
}

/** An NGINX that is 50 ms away from the replicas: on one machine the close arrives before anything can cross it. */
async function farAway(replicas: { url: string }[], pool: string) {
  const folder = await mkdtemp(join(tmpdir(), 'escala-far-'))
  const proxies = await Promise.all(replicas.map(({ url }) => startFaultProxy({ target: url })))
  for (const proxy of proxies) proxy.delay(50)
  const nginx = await startNginx({
    binaries: await findBinaries(),
    dir: folder,
    replicas: proxies.map(({ port }) => `127.0.0.1:${port}`),
    // `max_fails 0`: what is counted is each broken connection, not what comes of it.
    settings: { keepalive_timeout: pool, max_fails: '0', worker_processes: '1' },
  })
  return {
    url: nginx.url,
    async [Symbol.asyncDispose]() {
      await nginx.stop()
      await Promise.all(proxies.map((proxy) => proxy.stop()))
      await rm(folder, { recursive: true, force: true })
    },
  }
}
