import { createClient } from '@escala/testing/client'
import type { ClusterOptions } from '@escala/testing/cluster'
import { startTraffic } from '@escala/testing/traffic'
import { check, defineLab, type LabContext } from '../lab.ts'
import { roundRobin, sticky } from './naive.ts'

interface Size {
  perSecond: number
  seconds: number
  /** Each with an address of its own. */
  clients: number
}

export const lab = defineLab<Size>({
  slug: 'uneven-load',
  problem: 'One slow replica slows down everyone; with sticky sessions its clients are lost with it.',
  localOnly: 'each client needs an address of its own, and containers see one for all',
  sizes: {
    full: { perSecond: 100, seconds: 20, clients: 30 },
    test: { perSecond: 100, seconds: 3, clients: 12 },
  },
  halves: {
    problem: {
      title: (replicas) =>
        `with round robin and sticky sessions, ${replicas} replicas are only as good as the worst of them`,
      async run(context) {
        const { share, p90 } = await loadWithOneSlowReplica(context, roundRobin)
        const { loggedOut } = await killOne(context, {
          nginx: sticky,
          env: { LAB_MEMORY_SESSIONS: '1', ALLOW_PROCESS_SCOPE: '1' },
        })
        return [
          check("the slow replica's share of the requests in %", share, { atLeast: Math.floor(80 / context.replicas) }),
          check('nine of ten responses within … ms', p90, { atLeast: 450 }),
          check('clients logged out when one replica dies', loggedOut, { atLeast: 1 }),
        ]
      },
    },
    fix: {
      title: (replicas) =>
        `with least_conn and no stickiness, ${replicas} replicas share the work by what each can handle`,
      async run(context) {
        const { share, p90 } = await loadWithOneSlowReplica(context)
        const { loggedOut } = await killOne(context)
        return [
          check("the slow replica's share of the requests in %", share, { atMost: 16 }),
          check('nine of ten responses within … ms', p90, { atMost: 200 }),
          check('clients logged out when one replica dies', loggedOut, { equals: 0 }),
        ]
      },
    },
  },
})

const parts = new URL('./work.ts', import.meta.url)

async function loadWithOneSlowReplica(context: LabContext<Size>, nginx?: ClusterOptions['nginx']) {
  const { size, replicas, progress } = context
  const cluster = await context.cluster({ parts, replicas: replicas - 1, nginx })
  const slow = await cluster.addReplica({ env: { LAB_SLOW: '1' } })
  const client = createClient(cluster.url)
  const times: number[] = []
  let bySlow = 0
  const wanted = size.perSecond * size.seconds
  const traffic = startTraffic(size.perSecond, async () => {
    const begun = performance.now()
    const answer = await client.get('/work')
    times.push(performance.now() - begun)
    if (answer.replicaId === slow.id) bySlow++
    if (times.length <= wanted) progress(times.length, wanted)
    return answer
  })
  while (times.length < wanted) await new Promise((resolve) => setTimeout(resolve, 20))
  await traffic.stop()
  await cluster.stop()
  times.sort((a, b) => a - b)
  return { share: (100 * bySlow) / times.length, p90: times[Math.floor(times.length * 0.9)] ?? 0 }
}

async function killOne(context: LabContext<Size>, options: ClusterOptions = {}) {
  const cluster = await context.cluster({ parts, ...options })
  const { email, password } = await createClient(cluster.url).signUp()
  const clients = Array.from({ length: context.size.clients }, (_, index) =>
    createClient(cluster.url, { localAddress: `127.0.1.${index + 1}` }),
  )
  for (const client of clients) await client.logIn(email, password)
  await cluster.replicas[0]?.kill()
  const answers = await Promise.all(clients.map((client) => client.get('/v1/session')))
  return { loggedOut: answers.filter(({ status }) => status !== 200).length }
}
