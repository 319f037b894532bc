import { setTimeout as wait } from 'node:timers/promises'
import { type ClientAnswer, createClient, expectStatus } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { type Check, check, defineLab } from '../lab.ts'
import { isWell, until } from '../recovery.ts'
import { untilQuiet } from '../shop.ts'
import { faults } from './faults.ts'
import { matrix } from './matrix.ts'
import { outage } from './outage.ts'
import { requests } from './requests.ts'
import { createSeen, matrixTable } from './responses-seen.ts'
import { cancelled, openShop } from './shop.ts'

interface Size {
  faults: string[]
  /** Times that every route is asked, in each of them. */
  rounds: number
  everyMs: number
  /** Orders whose jobs wait in Redis when an outage begins. */
  orders: number
  /** How long a client of the naive half waits. */
  patienceMs: number
  parts: string
  /** How long a naive client that boots without Redis tries. */
  triesMs: number
  /** For a request during an outage; in tests twice of what is promised, since other tests run beside this one. */
  maxMs: number
}

// An order whose job was lost gets it again a second later, not a minute.
const workerEnv = { ORDER_STUCK_MS: '1000', JOB_BACKOFF_MS: '200' }

export const lab = defineLab<Size>({
  slug: 'redis-outage',
  sample: true,
  problem: 'Redis is unreachable for a moment, and everything hangs, even routes that do not need it.',
  sizes: {
    full: {
      faults: Object.keys(faults),
      rounds: 100,
      everyMs: 300,
      orders: 20,
      patienceMs: 8000,
      parts: './naive.ts',
      triesMs: 60_000,
      maxMs: 1000,
    },
    test: {
      faults: ['refused', 'hung', 'restarted empty', 'read-only'],
      rounds: 3,
      everyMs: 150,
      orders: 4,
      patienceMs: 2000,
      parts: './naive-impatient.ts',
      triesMs: 100,
      maxMs: 2000,
    },
  },
  halves: {
    problem: {
      title: (replicas) =>
        `with clients that are given only the address, ${replicas} replicas hang, and return 500 afterwards`,
      async run({ cluster: start, size, progress }) {
        // Neither Express nor a proxy with default settings has a deadline of ten seconds.
        const cluster = await start({
          faults: true,
          parts: new URL(size.parts, import.meta.url),
          env: { REQUEST_TIMEOUT_MS: '120000' },
        })
        const shop = await openShop(cluster, 1)
        const routes = Object.keys(requests).filter((route) => / \/(v1|docs)\//.test(route))
        const answered = async () => {
          const all = routes.map((route) => Promise.race([requests[route]?.(shop), wait(size.patienceMs)]))
          return (await Promise.all(all)).filter((answer) => answer !== undefined && answer.status > 0).length
        }
        const before = await answered()
        progress(1, 3)

        const redisProxy = cluster.cacheRedisProxy
        redisProxy.hang()
        const meanwhile = await answered()
        await redisProxy.heal()
        progress(2, 3)

        await redisProxy.refuse()
        const bootedAt = performance.now()
        await Promise.all(cluster.replicas.map((replica) => replica.restart()))
        const clients = cluster.replicas.map(({ url }) => createClient(url, { timeoutMs: 120_000 }))
        const first = await Promise.all(clients.map((client) => client.get('/v1/shows')))
        const firstMs = performance.now() - bootedAt
        await redisProxy.heal()
        await Promise.all(
          cluster.replicas.map(({ id, internalUrl }) => until(`${id} is well`, () => isWell(internalUrl))),
        )
        const afterwards = await Promise.all(clients.map((client) => client.get('/v1/shows')))
        for (const client of clients) client.close()
        progress(3, 3)
        const replicas = cluster.replicas.length
        return [
          check('routes asked', routes.length, { atLeast: 20 }),
          check('of them answered while Redis is there', before, { equals: routes.length }),
          check(`hung: of them answered within ${size.patienceMs} ms`, meanwhile, { equals: 0 }),
          check('refused at boot: ms until a public read is answered', firstMs, { atLeast: size.triesMs }),
          check('with 500, by so many replicas', withStatus(first, 500), { equals: replicas }),
          check('Redis is back: public reads that returned 500', withStatus(afterwards, 500), { equals: replicas }),
        ]
      },
    },
    fix: {
      title: (replicas) => `with ${replicas} replicas, each route responds whatever Redis does, and recovers by itself`,
      async run({ cluster: start, size, progress, print }) {
        const cluster = await start({ faults: true, workers: 1, workerEnv })
        const shop = await openShop(cluster, Math.ceil(size.rounds / 4))
        await cancelled(shop)
        const checks: Check[] = []
        const tables: Record<string, ReturnType<typeof createSeen>> = {}
        for (const [index, name] of size.faults.entries()) {
          const seen = createSeen()
          tables[name] = seen
          checks.push(...(await outage(cluster, name, shop, size, seen)))
          progress(index + 1, size.faults.length + 1)
        }
        print(matrixTable(tables))
        await shop.logIn()
        const orders = shop.acceptedOrders()
        const quiet = { cluster, buyer: shop.buyer, orders, quietMs: 12_000, progress: () => undefined }
        const after = await untilQuiet(quiet)
        return [
          check('routes that the table does not have', await unknownRoutes(cluster), { equals: 'none' }),
          ...checks,
          check('orders accepted before, during and after', orders, { atLeast: size.faults.length * size.orders }),
          check('of them confirmed', after.confirmed, { equals: orders }),
          check('charges, with that of one cancelled before', after.charges, { equals: orders + 1 }),
        ]
      },
    },
  },
})

/** Those of the API's own description, and what lies beside it. */
async function unknownRoutes({ url }: Cluster): Promise<string> {
  const { body } = expectStatus(await createClient(url, { keepAlive: false }).get('/v1/openapi.json'), 200)
  const described = Object.entries<object>(body.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  )
  const missing = [...described, ...Object.keys(requests)].filter((route) => matrix[route] === undefined)
  return missing.join(', ') || 'none'
}

const withStatus = (answers: ClientAnswer[], wanted: number) => answers.filter(({ status }) => status === wanted).length
