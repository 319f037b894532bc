import { setTimeout as wait } from 'node:timers/promises'
import { createClient } from '@escala/testing/client'
import type { Cluster, Replica } from '@escala/testing/cluster'
import { waitUntilReady } from '@escala/testing/replica'
import { startTraffic } from '@escala/testing/traffic'
import { type Check, check, defineLab, type LabContext } from '../lab.ts'
import { path } from './handler.ts'
import { tenEach } from './naive.ts'
import { startPgBouncer } from './pgbouncer.ts'

interface Size {
  /** Requests at once that meet a full pool, each with a statement of `slowMs`. */
  crowd: number
  slowMs: number
  /** Requests a second while the number of replicas changes. */
  perSecond: number
  /** How many replicas there are, one after the other. */
  counts: number[]
  /** How long each number stays. */
  stayMs: number
  /** Once more with PgBouncer in between, where it can be had. */
  pgBouncer: boolean
}

const maxProcesses = 6
const maxConnections = 25
const handler = new URL('./handler.ts', import.meta.url)
const database = { settings: { max_connections: String(maxConnections) } }

export const lab = defineLab<Size>({
  slug: 'connections',
  problem: 'Each additional replica brings the database closer to refusing all of them: too many clients.',
  replicas: { min: 3, max: 3 },
  sizes: {
    full: { crowd: 300, slowMs: 500, perSecond: 40, counts: [1, 2, 3, 4, 5, 6, 3, 1], stayMs: 3000, pgBouncer: true },
    test: { crowd: 100, slowMs: 500, perSecond: 30, counts: [1, 3, 6, 1], stayMs: 500, pgBouncer: false },
  },
  halves: {
    problem: {
      title: `with ten connections each, ${maxProcesses} replicas are too many clients for ${maxConnections} connections`,
      async run({ cluster: start, size, progress }) {
        const cluster = await start({ replicas: maxProcesses, parts: handler, database, env: tenEach(maxProcesses) })
        const answers = await sendCrowd(cluster, size)
        progress(1, 1)
        return [
          check('connections that the replicas may open', maxProcesses * 10, { atLeast: maxConnections }),
          check('connections that the server allows', maxConnections, { equals: maxConnections }),
          check('requests at once', answers.length, { equals: size.crowd }),
          check('refused by Postgres: too many clients (53300)', count(answers, '53300'), { atLeast: 10 }),
        ]
      },
    },
    fix: {
      title: `with one budget, 1 to ${maxProcesses} replicas are never refused, and one more waits for a place`,
      async run(context) {
        const { cluster: start, size, progress } = context
        const env = { DB_CONNECTIONS: '20', MAX_PROCESSES: String(maxProcesses) }
        const cluster = await start({ replicas: 1, parts: handler, database, env })
        const traffic = await scaleUnderTraffic(cluster, context)

        await cluster.scale(maxProcesses)
        const waiting = await cluster.addReplica({ parts: handler, env, waitUntilReady: false })
        const reason = await unreadyReason(waiting)
        const crowd = await sendCrowd(cluster, size)
        await cluster.replicas.pop()?.terminate()
        const admitted = await waitUntilReady(waiting).then(
          () => true,
          () => false,
        )
        const pooled = size.pgBouncer ? await throughPgBouncer(cluster, size) : []
        progress(size.counts.length + 1, size.counts.length + 1)
        return [
          check('requests while the number of replicas changed', traffic.total, { atLeast: size.perSecond }),
          check('of them failed', JSON.stringify(traffic.failures), { equals: '{}' }),
          check(`process ${maxProcesses + 1} is not ready, and the reason it gives`, reason.split(': ').at(-1) ?? '', {
            equals: 'waiting for a place',
          }),
          check('becomes ready once another one has left', admitted, { equals: true }),
          check(`requests at once with ${maxProcesses} replicas`, crowd.length, { equals: size.crowd }),
          check('refused by Postgres: too many clients (53300)', count(crowd, '53300'), { equals: 0 }),
          check(
            'with a status other than 200 and 503',
            crowd.filter(({ status }) => status !== 200 && status !== 503).length,
            {
              equals: 0,
            },
          ),
          check('with 503 because the pool was full', crowd.filter(({ status }) => status === 503).length, {
            atLeast: 1,
          }),
          check(
            'ms until the last of these',
            Math.max(0, ...crowd.filter(({ status }) => status === 503).map(({ ms }) => ms)),
            {
              atMost: 2500,
            },
          ),
          ...pooled,
        ]
      },
    },
  },
})

/** Replicas that may open 120 connections together, in front of a server that allows 25. */
async function throughPgBouncer(cluster: Cluster, size: Size): Promise<Check[]> {
  const pgBouncer = await startPgBouncer(cluster.databaseUrl, 10)
  if (!pgBouncer) return [check('PgBouncer', 'cannot be had here', { equals: 'cannot be had here' })]
  try {
    const env = {
      DATABASE_URL: pgBouncer.url,
      DB_CONNECTIONS: '120',
      PG_NAMED_STATEMENTS: Number(pgBouncer.version.split('.')[1]) < 21 ? '0' : '1',
    }
    await Promise.all(cluster.replicas.splice(0).map((replica) => replica.terminate()))
    for (let n = 0; n < 3; n++) await cluster.addReplica({ parts: handler, env })
    const answers = await sendCrowd(cluster, { ...size, crowd: 100, slowMs: 50 })
    await Promise.all(cluster.replicas.splice(0).map((replica) => replica.terminate()))
    return [
      check(
        `PgBouncer ${pgBouncer.version}: requests at once over 3 replicas with 20 connections each`,
        answers.length,
        {
          equals: 100,
        },
      ),
      check('of them with 200', answers.filter(({ status }) => status === 200).length, { equals: 100 }),
    ]
  } finally {
    await pgBouncer.stop()
  }
}

async function scaleUnderTraffic(cluster: Cluster, { size, progress }: LabContext<Size>) {
  const client = createClient(cluster.url)
  const traffic = startTraffic(size.perSecond, () => client.get(`${path}20`))
  for (const [index, replicas] of size.counts.entries()) {
    await cluster.scale(replicas)
    await wait(size.stayMs) // the traffic is what is measured
    progress(index + 1, size.counts.length + 1)
  }
  const report = await traffic.stop()
  client.close()
  return report
}

interface CrowdAnswer {
  status: number
  code: string
  ms: number
}

async function sendCrowd(cluster: Cluster, { crowd, slowMs }: Size): Promise<CrowdAnswer[]> {
  const client = createClient(cluster.url)
  const answers = await Promise.all(
    Array.from({ length: crowd }, async () => {
      const startedAt = performance.now()
      const { status, body } = await client.get(`${path}${slowMs}`)
      return { status, code: body?.code ?? '', ms: Math.round(performance.now() - startedAt) }
    }),
  )
  client.close()
  return answers
}

function count(answers: CrowdAnswer[], code: string): number {
  return answers.filter((answer) => answer.code === code).length
}

/** What the process itself says about it. */
async function unreadyReason(replica: Replica): Promise<string> {
  for (const deadline = Date.now() + 15_000; Date.now() < deadline; await wait(50)) {
    const response = await fetch(`${replica.internalUrl}/readyz`).catch(() => undefined)
    const body = (await response?.json()) as { reasons: { replicas?: string } } | undefined
    if (response?.ok || body?.reasons.replicas?.startsWith('MAX_PROCESSES'))
      return body?.reasons.replicas ?? 'it is ready'
  }
  return 'it says nothing'
}
