import { fileURLToPath } from 'node:url'
import { renderNginx } from '@escala/servers/nginx-config'
import { createClient } from '@escala/testing/client'
import type { ClusterOptions } from '@escala/testing/cluster'
import { check, defineLab, type LabContext } from '../lab.ts'

interface Size {
  /** By the client that wants more than its limit. */
  requests: number
}

const limit = 20
const env = { RATE_LIMIT_PER_MINUTE: String(limit) }

export const lab = defineLab<Size>({
  slug: 'client-address',
  sample: true,
  problem: 'Behind NGINX all clients have one address, and with the usual cure each can choose its own.',
  sizes: { full: { requests: 300 }, test: { requests: 60 } },
  localOnly: 'through a published port of Docker every client has the address of the bridge',
  halves: {
    problem: {
      title: 'without `trust proxy` one client blocks another; with `true` a forged header evades the limit',
      async run(context) {
        const untold = await greedyAndModest(context, { env: { ...env, TRUST_PROXY: '0' } })
        const believed = await greedyAndModest(context, {
          env,
          parts: new URL('./naive.ts', import.meta.url),
          nginx: { conf: appendingNginx },
        })
        return [
          check('no trust: requests of a modest client that were refused', untold.modest.refused, { equals: 5 }),
          check('trust all proxies: forged requests that passed', believed.forged.passed, {
            equals: context.size.requests,
          }),
        ]
      },
    },
    fix: {
      title: 'with the exact number of proxies, each address has its own budget and forged headers change nothing',
      async run(context) {
        const { greedy, modest, forged, boot } = await greedyAndModest(context, { env })
        return [
          check('requests of a greedy client that passed', greedy.passed, { equals: limit }),
          check('requests of a modest client that were refused', modest.refused, { equals: 0 }),
          check('forged requests that passed', forged.passed, { equals: limit }),
          check('exit code of a replica configured to trust all proxies', await boot('true'), { equals: 1 }),
        ]
      },
    },
  },
})

/** Three clients: one sends plainly too much, one sends five, one names another address each time. */
async function greedyAndModest({ cluster: start, size, progress }: LabContext<Size>, options: ClusterOptions) {
  const cluster = await start(options)
  const count = async (localAddress: string, times: number, headers: () => Record<string, string> = () => ({})) => {
    const client = createClient(cluster.url, { localAddress })
    const seen = { passed: 0, refused: 0 }
    for (let i = 0; i < times; i++) {
      const { status } = await client.get('/v1/shows', undefined, headers())
      if (status === 200) seen.passed++
      if (status === 429) seen.refused++
      progress(i + 1, times)
    }
    client.close()
    return seen
  }
  return {
    greedy: await count('127.0.0.2', size.requests),
    modest: await count('127.0.0.3', 5),
    forged: await count('127.0.0.4', size.requests, forgedHeaders),
    async boot(trustProxy: string) {
      const replica = await cluster.addReplica({ env: { TRUST_PROXY: trustProxy }, waitUntilReady: false })
      return await replica.exited()
    },
  }
}

let forgeries = 0

/** Every header that is ever taken for a client's address, with another address each time. */
function forgedHeaders(): Record<string, string> {
  const address = `198.51.${Math.floor(forgeries / 250) % 250}.${forgeries++ % 250}`
  return { 'x-forwarded-for': address, 'x-real-ip': address, forwarded: `for=${address}` }
}

function appendingNginx(listen: string, addresses: string[]): string {
  const naive = fileURLToPath(new URL('./naive.conf', import.meta.url))
  const text = renderNginx({ listen, upstream: { kind: 'addresses', addresses } })
  return text.replaceAll(/include \S+proxy-headers\.conf;/g, `include ${naive};`)
}
