import { type Check, check, defineLab, type LabContext } from '../lab.ts'
import { path, slots } from './handler.ts'
import { type Load, load } from './load.ts'
import { fitUsl } from './usl.ts'

interface Size {
  /** How long one request waits. */
  waitMs: number
  /** How many clients have a request under way, whatever the number of replicas. */
  clients: number
  seconds: number
  /** Numbers of replicas to measure. */
  counts: number[]
  /** The law of scaling is fitted to requests that wait for so long: few enough of them that no core is full with six replicas. */
  lawWaitMs?: number
}

const parts = new URL('./handler.ts', import.meta.url)

export const lab = defineLab<Size>({
  slug: 'capacity',
  problem: 'One replica handles 100 requests at a time; the rest wait, however fast the machine.',
  replicas: { min: 3, max: 3 },
  sizes: {
    full: { waitMs: 50, clients: 1000, seconds: 5, counts: [1, 2, 3, 4, 6], lawWaitMs: 100 },
    test: { waitMs: 200, clients: 400, seconds: 1.6, counts: [1, 2, 3] },
  },
  halves: {
    problem: {
      title: `with one replica, throughput stops at ${slots} requests at a time and all others wait`,
      async run({ cluster: start, size, progress }) {
        const cluster = await start({ replicas: 1, parts })
        const most = (slots / size.waitMs) * 1000
        const loads: Load[] = []
        for (const clients of [slots, 2 * slots, 6 * slots]) {
          loads.push(await measure(cluster.url, size, clients))
          progress(loads.length, 3)
        }
        const [few, , many] = loads as [Load, Load, Load]
        return [
          check('requests at a time in the replica', many.peak, { equals: slots }),
          check(`requests a second, ${slots} clients`, Math.round(few.perSecond), {
            between: [0.75 * most, most * 1.02],
          }),
          check(`requests a second, ${6 * slots} clients`, Math.round(many.perSecond), { atMost: most * 1.02 }),
          check('gain from six times the clients', many.perSecond / few.perSecond, { atMost: 1.5 }),
          check(`ms until a response, ${slots} clients`, few.medianMs, { atMost: 1.6 * size.waitMs }),
          check(`ms until a response, ${6 * slots} clients`, many.medianMs, { atLeast: 4.5 * size.waitMs }),
          check('failed', sum(loads.map(({ failed }) => failed)), { equals: 0 }),
        ]
      },
    },
    fix: {
      title: 'with two and three replicas behind NGINX, throughput is two and three times as high',
      async run(context) {
        const { loads, law } = await measureCounts(context)
        const factor = (replicas: number) => timesOne(loads, replicas)
        return [
          ...loads.map(({ replicas, perSecond }) =>
            check(`requests a second, ${replicas} replica(s)`, Math.round(perSecond), { atLeast: 1 }),
          ),
          check('2 replicas, times one', factor(2), { atLeast: 1.9 }),
          check('3 replicas, times one', factor(3), { atLeast: 2.8 }),
          ...(law.length === 0 ? [] : [check('4 replicas, times one', factor(4), { atLeast: 3.6 }), ...judgeLaw(law)]),
          check('most requests at a time in one replica', Math.max(...loads.map(({ peak }) => peak)), {
            equals: slots,
          }),
          check('failed', sum(loads.map(({ failed }) => failed)), { equals: 0 }),
        ]
      },
    },
  },
})

type CountedLoad = Load & { replicas: number }

async function measureCounts({ cluster: start, size, progress }: LabContext<Size>) {
  const cluster = await start({ replicas: 1, parts, env: { MAX_PROCESSES: '10' } })
  const loads: CountedLoad[] = []
  const law: CountedLoad[] = []
  for (const replicas of size.counts) {
    await cluster.scale(replicas)
    loads.push({ replicas, ...(await measure(cluster.url, size, size.clients)) })
    const { lawWaitMs: waitMs } = size
    if (waitMs) law.push({ replicas, ...(await measure(cluster.url, { ...size, waitMs }, size.clients)) })
    progress(loads.length, size.counts.length)
  }
  return { loads, law }
}

function timesOne(loads: CountedLoad[], replicas: number): number {
  const perSecond = (count: number) => loads.find((load) => load.replicas === count)?.perSecond ?? Number.NaN
  return perSecond(replicas) / perSecond(1)
}

function judgeLaw(law: CountedLoad[]): Check[] {
  const { sigma, kappa } = fitUsl(law)
  return [
    check('6 replicas with half as many requests a second, times one', timesOne(law, 6), { atLeast: 5.6 }),
    check('contention σ of the law of scaling, 1 to 6 replicas', sigma.toFixed(4), { atMost: 0.02 }),
    check('coherence κ of the law of scaling, 1 to 6 replicas', kappa.toFixed(4), { atMost: 0.002 }),
  ]
}

/** The first part, during which the replicas compile and the connections are made, does not count. */
async function measure(url: string, { waitMs, seconds }: Size, clients: number): Promise<Load> {
  return await load({ url: `${url}${path}${waitMs}`, clients, warmUpMs: 300 * seconds, measuredMs: 1000 * seconds })
}

function sum(numbers: number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
