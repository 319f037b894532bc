import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { createClient } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { withClient } from '@escala/testing/test-database'
import { startTraffic } from '@escala/testing/traffic'
import { check, defineLab, type LabContext } from '../lab.ts'
import { path, slots, workMs } from './handler.ts'

interface Size {
  /** Of each load: normal, then three times what the replicas can do. */
  seconds: number
}

/** How long a client waits before it gives up: a response after that is wasted work. */
const patienceMs = 1500
const crowdSize = 40

export const lab = defineLab<Size>({
  slug: 'overload',
  problem: 'Slightly too much traffic, and no one is served any more.',
  sizes: { full: { seconds: 20 }, test: { seconds: 5 } },
  halves: {
    problem: {
      title: (replicas) =>
        `with ${replicas} replicas that accept everything, three times their capacity serves hardly anyone`,
      async run(context) {
        const { normal, late } = await overload(context, new URL('./naive.ts', import.meta.url))
        return [
          check('requests a second at nine tenths of the capacity', normal.goodput, { atLeast: 1 }),
          check('p99 then, ms', normal.p99Ms, { atMost: patienceMs }),
          check('at three times the capacity, served in time, in % of that', percent(late.goodput, normal.goodput), {
            atMost: 50,
          }),
          check('clients that gave up, in %', percent(late.gaveUp, late.sent), { atLeast: 50 }),
        ]
      },
    },
    fix: {
      title: (replicas) =>
        `with ${replicas} replicas that refuse early, three times their capacity serves as many as before`,
      async run(context) {
        const { cluster, normal, late } = await overload(context, new URL('./shedding.ts', import.meta.url))
        const own = await crowd(cluster)
        return [
          check('requests a second at nine tenths of the capacity', normal.goodput, { atLeast: 1 }),
          check('p99 then, ms', normal.p99Ms, { atMost: patienceMs }),
          check('at three times the capacity, served in time, in % of that', percent(late.goodput, normal.goodput), {
            atLeast: 90,
          }),
          check('p99 of what was accepted, times the normal one', late.p99Ms / normal.p99Ms, { atMost: 3 }),
          check('clients that gave up', late.gaveUp, { equals: 0 }),
          check('refusals without a Retry-After', late.refused - late.refusedWithTime, { equals: 0 }),
          check(`of ${crowdSize} log-ins at once, which the API itself serves, refused`, own, { atLeast: 1 }),
        ]
      },
    },
  },
})

async function overload(context: LabContext<Size>, parts: URL) {
  const { replicas, size, progress } = context
  const cluster = await context.cluster({ parts, env: { MAX_IN_FLIGHT: '10' } })
  const capacity = (replicas * slots * 1000) / workMs
  const client = createClient(cluster.url, { timeoutMs: patienceMs })

  const apply = async (perSecond: number, loadNumber: number) => {
    const seen = { sent: 0, accepted: [] as number[], refused: 0, refusedWithTime: 0, gaveUp: 0 }
    const beganAt = performance.now()
    // What came before the queue had its full length would flatter the average.
    const settledAt = beganAt + (size.seconds * 1000) / 2
    const traffic = startTraffic(perSecond, async () => {
      const sentAt = performance.now()
      const answer = await client.get(path)
      if (sentAt < settledAt) return answer
      seen.sent++
      if (answer.status === 200) seen.accepted.push(performance.now() - sentAt)
      else if (answer.status === 503) seen.refused++
      else seen.gaveUp++
      if (answer.status === 503 && answer.headers['retry-after'] !== undefined) seen.refusedWithTime++
      return answer
    })
    for (let second = 0; second < size.seconds; second++) {
      await wait(1000)
      progress(loadNumber * size.seconds + second + 1, 2 * size.seconds)
    }
    await traffic.stop()
    const times = seen.accepted.sort((a, b) => a - b)
    const goodput = times.length / (size.seconds / 2)
    return { ...seen, goodput, p99Ms: times[Math.floor(times.length * 0.99)] ?? 0 }
  }
  const normal = await apply(0.9 * capacity, 0)
  const late = await apply(3 * capacity, 1)
  client.close()
  return { cluster, normal, late }
}

/** Many ask one replica for what the database does not give it for a moment. */
async function crowd({ databaseUrl, replicas }: Cluster): Promise<number> {
  const client = createClient(replicas[0]?.url ?? '')
  const answers = await withClient(databaseUrl, async (database) => {
    await database.query('BEGIN')
    await database.query('LOCK TABLE users IN ACCESS EXCLUSIVE MODE')
    const logIn = () => client.post('/v1/session', { email: `${randomUUID()}@example.com`, password: 'a guess' })
    const asked = Promise.all(Array.from({ length: crowdSize }, logIn))
    await wait(500)
    await database.query('ROLLBACK')
    return await asked
  })
  client.close()
  return answers.filter(({ body }) => body?.code === 'E_OVERLOADED').length
}

const percent = (part: number, whole: number) => (whole === 0 ? 0 : (100 * part) / whole)
