import { setTimeout as wait } from 'node:timers/promises'
import { type ClientAnswer, createClient } from '@escala/testing/client'
import { check, defineLab, type LabContext } from '../lab.ts'
import { shortWindowMs } from './windows.ts'

interface Size {
  requests: number
}

const limit = 50
const env = { RATE_LIMIT_PER_MINUTE: String(limit) }

export const lab = defineLab<Size>({
  slug: 'rate-limits',
  sample: true,
  problem: 'A client gets as many times its limit as there are replicas.',
  sizes: { full: { requests: 600 }, test: { requests: 300 } },
  halves: {
    problem: {
      title: (replicas) => `with in-memory counters on ${replicas} replicas, a client gets ${replicas} times its limit`,
      async run(context) {
        const { passed, refused } = await sendAll(context, new URL('./naive.ts', import.meta.url))
        const edge = await sendAroundEdge(context, new URL('./fixed-windows.ts', import.meta.url))
        return [
          check('passed', passed.length, { equals: context.replicas * limit }),
          check('refused', refused.length, { equals: context.size.requests - context.replicas * limit }),
          check('passed within one window around an edge of shared fixed windows', edge, {
            between: [1.8 * limit, 2 * limit],
          }),
        ]
      },
    },
    fix: {
      title: (replicas) => `with counters in Redis on ${replicas} replicas, a client gets its limit`,
      async run(context) {
        const { passed, refused } = await sendAll(context)
        const edge = await sendAroundEdge(context, new URL('./even-pace.ts', import.meta.url))
        const left = passed.map(remaining).sort((a, b) => a - b)
        return [
          check('passed', passed.length, { equals: limit }),
          check('refused', refused.length, { equals: context.size.requests - limit }),
          check(
            'each response had a different number of requests left',
            left.every((number, i) => number === i),
            { equals: true },
          ),
          check('refusals that say when to try again', refused.filter(hasRetryAfter).length, {
            equals: refused.length,
          }),
          check('replicas that responded', new Set(passed.map(({ replicaId }) => replicaId)).size, {
            equals: context.replicas,
          }),
          // The burst on either side of the edge, 5 each: a policy that admits nothing is no cure either.
          check('passed within one window around an edge, at an even pace', edge, { between: [10, limit + 5] }),
        ]
      },
    },
  },
})

/** One client sends far more than its limit, 30 at a time. */
async function sendAll({ cluster: start, size, progress }: LabContext<Size>, parts?: URL) {
  const cluster = await start({ parts, env })
  const client = createClient(cluster.url)
  const answers: ClientAnswer[] = []
  while (answers.length < size.requests) {
    answers.push(...(await Promise.all(Array.from({ length: 30 }, () => client.get('/v1/shows')))))
    progress(answers.length, size.requests)
  }
  return {
    passed: answers.filter(({ status }) => status === 200),
    refused: answers.filter(({ status }) => status === 429),
  }
}

/** A client that knows how windows work: all it may just before the end of one, and all it may just after. */
async function sendAroundEdge({ cluster: start }: LabContext<Size>, parts: URL): Promise<number> {
  const cluster = await start({ parts, env })
  const client = createClient(cluster.url)
  const passedAt: number[] = []
  const send = async () => {
    const { status } = await client.get('/v1/shows')
    if (status === 200) passedAt.push(performance.now())
  }
  await send() // begins the window
  await wait(shortWindowMs - 400)
  await Promise.all(Array.from({ length: limit }, send))
  const edge = performance.now() + 400
  while (performance.now() < edge) await wait(10)
  await Promise.all(Array.from({ length: limit }, send))
  const countFrom = (from: number) => passedAt.filter((at) => at >= from && at < from + shortWindowMs).length
  return Math.max(...passedAt.map(countFrom))
}

/** `"general"; r=49; t=60, "address"; r=499; t=60` */
function remaining({ headers }: ClientAnswer): number {
  return Number(/"general"; r=(\d+)/.exec(String(headers.ratelimit))?.[1])
}

function hasRetryAfter({ headers }: ClientAnswer): boolean {
  return Number(headers['retry-after']) > 0
}
