import { createClient } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { check, defineLab, type LabContext } from '../lab.ts'
import { path } from './naive.ts'

interface Size {
  requests: number
  /** Scrapes after so many of them. */
  every: number
}

const route = '/v1/shows'

const places = { MAX_PROCESSES: '14' } // it begins with one replica

export const lab = defineLab<Size>({
  slug: 'metrics',
  sample: true,
  problem: 'A request counter jumps up and down, and the real number is unknown.',
  sizes: { full: { requests: 1200, every: 20 }, test: { requests: 120, every: 10 } },
  halves: {
    problem: {
      title: (replicas) =>
        `with /metrics behind the balancer, ${replicas} replicas report ${replicas} different numbers`,
      async run(context) {
        const cluster = await context.cluster({
          replicas: 1,
          env: places,
          parts: new URL('./naive.ts', import.meta.url),
        })
        const scraper = createClient(cluster.url)
        const told = await sendAndScrape(context, cluster, async () => counterIn((await scraper.get(path)).body))
        return [
          check('requests sent', context.size.requests, { equals: context.size.requests }),
          check('scrapes', told.length, { atLeast: 10 }),
          check('times that the counter fell', falls(told), { atLeast: 2 }),
          check('the highest value that it reported', Math.max(...told), { atMost: context.size.requests * 0.8 }),
        ]
      },
    },
    fix: {
      title: (replicas) => `with each of ${replicas} replicas scraped directly, the sum is what was sent`,
      async run(context) {
        const cluster = await context.cluster({ replicas: 1, env: places })
        const shares = new Map<string, number>()
        const told = await sendAndScrape(context, cluster, async () => {
          for (const { id, internalUrl } of cluster.replicas) {
            const text = await fetch(`${internalUrl}/metrics`).then((answer) => answer.text())
            shares.set(id, counterIn(text, route))
          }
          return [...shares.values()].reduce((sum, count) => sum + count, 0)
        })
        const outside = await createClient(cluster.url).get('/metrics')
        return [
          check('requests sent', context.size.requests, { equals: context.size.requests }),
          check('scrapes', told.length, { atLeast: 10 }),
          check('times that the sum fell', falls(told), { equals: 0 }),
          check('the sum in the end', told.at(-1) ?? 0, { equals: context.size.requests }),
          check('replicas that contribute to it', [...shares.values()].filter((count) => count > 0).length, {
            equals: context.replicas,
          }),
          check('status of /metrics through NGINX', outside.status, { equals: 404 }),
          check('response came from a replica', outside.replicaId !== undefined, { equals: false }),
        ]
      },
    },
  },
})

async function sendAndScrape(
  { size, replicas, progress }: LabContext<Size>,
  cluster: Cluster,
  scrape: () => Promise<number>,
) {
  const client = createClient(cluster.url)
  const told: number[] = []
  for (let sent = 1; sent <= size.requests; sent++) {
    if (sent === Math.round(size.requests / 3)) await cluster.scale(replicas) // as one does when there is more to do
    await client.get(route)
    // As many scrapes in a row as there are replicas: the balancer's turn must not always fall on the same one.
    if (sent % size.every === 0) for (let i = 0; i < replicas; i++) told.push(await scrape())
    progress(sent, size.requests)
  }
  return told
}

/** The value of `http_requests_total`, over all of its label sets that name the route. */
function counterIn(text: string, ofRoute?: string): number {
  const lines = text.split('\n').filter((line) => line.startsWith('http_requests_total'))
  const counted = ofRoute === undefined ? lines : lines.filter((line) => line.includes(`route="${ofRoute}"`))
  return counted.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0)
}

function falls(values: number[]): number {
  return values.filter((value, i) => value < (values[i - 1] ?? 0)).length
}
