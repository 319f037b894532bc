import { setTimeout as wait } from 'node:timers/promises'
import type { ClusterOptions } from '@escala/testing/cluster'
import { Redis } from 'ioredis'
import pg from 'pg'
import { check, defineLab, type LabContext } from '../lab.ts'
import { createBuyer, createShow, order } from '../shop.ts'

interface Size {
  users: number
  orders: number
  /** What the cache is given to keep; it has room for 64 MB. */
  megabytes: number
}

// The order's job is waiting in the queue all this time: the provider does not answer before the cache is full.
const workerEnv = { ORDER_STUCK_MS: '3600000' }

export const lab = defineLab<Size>({
  slug: 'eviction',
  sample: true,
  problem: 'The cache fills up, and users are logged out and orders are lost.',
  sizes: { full: { users: 60, orders: 100, megabytes: 200 }, test: { users: 6, orders: 12, megabytes: 100 } },
  halves: {
    problem: {
      title: 'with state and cache in one Redis that evicts, filling the cache deletes sessions and jobs',
      async run(context) {
        // In production such a replica does not start.
        const seen = await fillTheCache(context, {
          oneRedis: true,
          env: { NODE_ENV: 'development' },
          workerEnv: { ...workerEnv, NODE_ENV: 'development' },
        })
        return [
          check('users logged in', context.size.users, { equals: context.size.users }),
          check('of them logged out', seen.loggedOut, { atLeast: context.size.users / 2 }),
          check('orders accepted', context.size.orders, { equals: context.size.orders }),
          check('of them never confirmed', context.size.orders - seen.confirmed, { atLeast: 1 }),
        ]
      },
    },
    fix: {
      title: 'with a Redis for state that keeps everything, filling the cache deletes nothing else',
      async run(context) {
        const seen = await fillTheCache(context, { workerEnv })
        const refused = await context.cluster({ replicas: 1, oneRedis: true }).then(
          () => 'started',
          (error: Error) => /E_REDIS_EVICTS/.exec(error.message)?.[0] ?? error.message,
        )
        return [
          check('users logged in', context.size.users, { equals: context.size.users }),
          check('of them logged out', seen.loggedOut, { equals: 0 }),
          check('orders accepted', context.size.orders, { equals: context.size.orders }),
          check('of them never confirmed', context.size.orders - seen.confirmed, { equals: 0 }),
          check('values that the cache evicted', seen.evicted, { atLeast: 1 }),
          check('a replica whose state may be evicted', refused, { equals: 'E_REDIS_EVICTS' }),
        ]
      },
    },
  },
})

async function fillTheCache({ cluster: start, size, progress }: LabContext<Size>, options: ClusterOptions) {
  const cluster = await start({ workers: 1, ...options })
  await cluster.payments.behave({ hang: true })
  const show = await createShow(cluster)
  const users = []
  for (let i = 0; i < size.users; i++) users.push(await createBuyer(cluster))
  const buyer = await createBuyer(cluster)
  for (let i = 0; i < size.orders; i++) await order(buyer, show)

  const evicted = await fill(cluster.cacheRedisUrl, size.megabytes, progress)

  const answers = await Promise.all(users.map((user) => user.get('/v1/session')))
  await cluster.payments.behave({ hang: false })
  const confirmed = await countConfirmed(cluster.databaseUrl, size.orders, progress)
  return { loggedOut: answers.filter(({ status }) => status === 401).length, confirmed, evicted }
}

/** As a cache that is used: values of 100 kB, until there are far more than it has room for. */
async function fill(url: string, megabytes: number, progress: (done: number, total: number) => void) {
  const redis = new Redis(url)
  const value = 'x'.repeat(100_000)
  for (let i = 0; i < megabytes * 10; i++) {
    await redis.set(`cache:page-${i}`, value)
    progress(i, megabytes * 10)
  }
  const stats = await redis.info('stats')
  redis.disconnect()
  return Number(/evicted_keys:(\d+)/.exec(stats)?.[1])
}

/** Until all are, or nothing has happened for a while; asked of the database, since the buyer may be logged out, too. */
async function countConfirmed(url: string, orders: number, progress: (done: number, total: number) => void) {
  const database = new pg.Client({ connectionString: url })
  await database.connect()
  let confirmed = -1
  for (let since = Date.now(); confirmed < orders && Date.now() - since < 5000; await wait(100)) {
    const { rows } = await database.query("SELECT count(*)::int AS count FROM orders WHERE status = 'confirmed'")
    if (rows[0].count !== confirmed) since = Date.now()
    confirmed = rows[0].count
    progress(confirmed, orders)
  }
  await database.end()
  return confirmed
}
