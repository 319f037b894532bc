import { type Client, createClient } from '@escala/testing/client'
import { check, defineLab, type LabContext } from '../lab.ts'
import { naiveConf } from './naive.ts'

interface Size {
  /** Of each method. */
  requests: number
}

type Method = 'get' | 'put' | 'delete' | 'post' | 'patch'
const methods: Method[] = ['get', 'put', 'delete', 'post', 'patch']

export const lab = defineLab<Size>({
  slug: 'proxy-retries',
  problem: 'One slow request runs on every replica, because the proxy retries it.',
  sizes: { full: { requests: 20 }, test: { requests: 3 } },
  halves: {
    problem: {
      title: (replicas) => `with NGINX's retries, a slow write runs on ${replicas} replicas`,
      async run(context) {
        const { runs } = await runSlowRequests(context, { conf: naiveConf })
        return methods.map((method) =>
          check(`most runs of one ${method.toUpperCase()}`, runs[method], { equals: context.replicas }),
        )
      },
    },
    fix: {
      title: (replicas) => `with retries of what was not sent, a slow write runs on one of ${replicas} replicas`,
      async run(context) {
        // `max_fails 0`: these requests are slow on purpose, so no replica shall count as failed because of them.
        const settings = { proxy_read_timeout: '300ms', max_fails: '0' }
        const { runs, answered } = await runSlowRequests(context, { settings })
        return [
          ...methods.map((method) =>
            check(`most runs of one ${method.toUpperCase()}`, runs[method], { equals: method === 'get' ? 2 : 1 }),
          ),
          check('requests not answered while one replica refuses', answered.failed, { equals: 0 }),
          check('requests sent meanwhile', answered.sent, { equals: context.size.requests * methods.length * 2 }),
        ]
      },
    },
  },
})

type Nginx = NonNullable<Parameters<LabContext<Size>['cluster']>[0]>['nginx']

async function runSlowRequests({ cluster: startCluster, size, progress }: LabContext<Size>, nginx: Nginx) {
  const cluster = await startCluster({ parts: new URL('./counted.ts', import.meta.url), nginx })
  const client = createClient(cluster.url)
  const runs: Record<Method, number> = { get: 0, put: 0, delete: 0, post: 0, patch: 0 }
  for (const [index, method] of methods.entries()) {
    const names = Array.from({ length: size.requests }, (_, number) => `${method}-${number}`)
    await Promise.all(names.map((name) => client[method](`/work/${name}`)))
    const counts = await Promise.all(cluster.replicas.map((replica) => countedBy(createClient(replica.url))))
    const total = (name: string) => counts.reduce((sum, count) => sum + (count[name] ?? 0), 0)
    runs[method] = Math.max(...names.map(total))
    progress(index + 1, methods.length)
  }

  await cluster.replicas[0]?.kill()
  const answered = { sent: 0, failed: 0 }
  for (let round = 0; round < size.requests * 2; round++) {
    for (const method of methods) {
      // A route that does not exist: what counts is that a replica says so.
      const { status } = await client[method]('/v1/nothing')
      answered.sent++
      if (status !== 404) answered.failed++
    }
  }
  return { runs, answered }
}

async function countedBy(replica: Client): Promise<Record<string, number>> {
  return JSON.parse((await replica.get('/runs')).body)
}
