import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { type Client, createClient, expectStatus } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { Redis } from 'ioredis'
import { check, defineLab, type LabContext } from '../lab.ts'
import { type Listener, listen } from './listener.ts'

interface Size {
  sales: number
  /** Clients that look at the show through NGINX. */
  clients: number
  /** After the sales one by one, with so many at the same moment. */
  together: number
}

const show = { name: 'Gig', startsAt: '2030-01-01T20:00:00Z', priceCents: 1000, currency: 'EUR', capacity: 1000 }

export const lab = defineLab<Size>({
  slug: 'live-updates',
  sample: true,
  problem: 'Only visitors connected to the replica that sold see the sale at once.',
  sizes: {
    full: { sales: 100, clients: 60, together: 4 },
    test: { sales: 100, clients: 12, together: 4 },
  },
  halves: {
    problem: {
      title: (replicas) =>
        `with an event emitter in each of ${replicas} replicas, one client of ${replicas} sees a sale`,
      async run(context) {
        const { cluster, buyer, path } = await open(context, new URL('./naive.ts', import.meta.url))
        const clients = cluster.replicas.map(({ url }) => listen(`${url}${path}/live`))
        try {
          await until(() => clients.every(({ seen }) => seen.length === 1))
          await buy(buyer, path)
          await wait(2000)
          return [
            check('clients, one on each replica', clients.length, { equals: context.replicas }),
            check('saw the sale within 2 s', clients.filter(({ seen }) => seen.length === 2).length, { equals: 1 }),
          ]
        } finally {
          for (const client of clients) client.stop()
        }
      },
    },
    fix: {
      title: (replicas) => `with Redis Streams behind ${replicas} replicas, every client sees every sale, in order`,
      async run(context) {
        const { size, replicas } = context
        const { cluster, buyer, path } = await open(context, new URL('./uneven.ts', import.meta.url))
        const clients = Array.from({ length: size.clients }, () => listen(`${cluster.url}${path}/live`))
        try {
          await until(() => clients.every(({ seen }) => seen.length === 1))
          const spread = new Set(clients.map((client) => client.replicaId())).size
          const readers = await countReaders(cluster)
          await sellAndKill(context, cluster, buyer, path, clients[0] as Listener)
          const expected = Array.from({ length: size.sales + 1 }, (_, sold) => show.capacity - sold)
          await until(() => clients.every(({ seen }) => seen.at(-1) === expected.at(-1))).catch(() => undefined)
          const lostBy =
            (from: number[]) =>
            ({ seen }: Listener) =>
              from.filter((one) => !seen.includes(one)).length
          const lost = clients.map(lostBy(expected))
          await sellTogether(context, buyer, path)
          const crowded = expected.map((available) => available - size.sales).slice(1)
          await until(() => clients.every(({ seen }) => seen.at(-1) === crowded.at(-1))).catch(() => undefined)
          const skipped = sum(clients.map(lostBy(crowded))) / (clients.length * crowded.length)
          return [
            check('sales', size.sales, { equals: size.sales }),
            check('replicas with clients', spread, { equals: replicas }),
            check('connections to Redis that wait for events', readers, { equals: replicas }),
            check('clients that had to reconnect', clients.filter((one) => one.reconnects() > 0).length, {
              atLeast: 1,
            }),
            check('events lost, over all clients', sum(lost), { equals: 0 }),
            // A sale announced more than a quarter of a second after one made at the same moment is left out.
            check(`with ${size.together} sales at a time, events that were left out, in %`, 100 * skipped, {
              atMost: 10,
            }),
            check('clients that saw them in order, each once', clients.filter(inOrder).length, {
              equals: size.clients,
            }),
          ]
        } finally {
          for (const client of clients) client.stop()
        }
      },
    },
  },
})

async function open({ cluster: start }: LabContext<Size>, parts?: URL) {
  const cluster = await start({ parts })
  const buyer = createClient(cluster.url)
  await buyer.logInAsOrganiser()
  const { id } = expectStatus(await buyer.post('/v1/shows', show), 201).body
  return { cluster, buyer, path: `/v1/shows/${id}` }
}

async function buy(buyer: Client, path: string): Promise<void> {
  const key = { 'idempotency-key': randomUUID() }
  // As a client should: the same again, until there is an answer that is one.
  for (let tries = 0; tries < 20; tries++) {
    const { status } = await buyer.post(`${path}/orders`, { quantity: 1 }, key)
    if (status === 201) return
    await wait(100)
  }
  throw new Error('an order did not come through')
}

/** In the middle, the replica of one client is killed: that client and its neighbours go on elsewhere. */
async function sellAndKill(
  { size, progress }: LabContext<Size>,
  cluster: Cluster,
  buyer: Client,
  path: string,
  client: Listener,
): Promise<void> {
  for (let sold = 0; sold < size.sales; sold++) {
    if (sold === Math.floor(size.sales / 2)) {
      const victim = cluster.replicas.find(({ id }) => id === client.replicaId())
      await victim?.kill()
    }
    await buy(buyer, path)
    progress(sold + 1, size.sales)
  }
}

async function sellTogether({ size }: LabContext<Size>, buyer: Client, path: string): Promise<void> {
  let begun = 0
  const sell = async () => {
    while (begun++ < size.sales) await buy(buyer, path)
  }
  await Promise.all(Array.from({ length: size.together }, sell))
}

async function countReaders({ redisUrl }: Cluster): Promise<number> {
  const redis = new Redis(redisUrl)
  const clients = String(await redis.client('LIST'))
  redis.disconnect()
  return clients.split('\n').filter((line) => line.includes('cmd=xread')).length
}

const inOrder = ({ seen }: Listener) => seen.every((available, at) => at === 0 || available < (seen[at - 1] as number))
const sum = (numbers: number[]) => numbers.reduce((total, number) => total + number, 0)

async function until(condition: () => boolean): Promise<void> {
  const startedAt = performance.now()
  while (!condition()) {
    if (performance.now() - startedAt > 15_000) throw new Error('waited for 15 s in vain')
    await wait(10)
  }
}
