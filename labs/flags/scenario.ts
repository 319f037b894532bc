import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { type Client, createClient, expectStatus } from '../cluster/client.ts'
import type { Cluster } from '../cluster/cluster.ts'
import { check, defineLab, type LabContext } from '../cluster/lab.ts'

interface Size {
  /** How often the sales are closed and opened again. */
  turns: number
}

const show = { name: 'Gig', startsAt: '2030-01-01T20:00:00Z', priceCents: 1000, currency: 'EUR', capacity: 1_000_000 }

export const lab = defineLab<Size>({
  slug: 'flags',
  problem: 'A switch is turned, and only one replica goes by it.',
  sizes: { full: { turns: 30 }, test: { turns: 5 } },
  halves: {
    problem: {
      title: (replicas) =>
        `with a flag in the memory of ${replicas} replicas, one closes the sales and the others go on`,
      async run(context) {
        const shop = await open(context, new URL('./naive.ts', import.meta.url))
        await turn(shop, false)
        await wait(2000)
        const selling = await countSelling(shop)
        return [
          check('replicas', shop.direct.length, { equals: context.replicas }),
          check('still selling 2 s after the sales were closed', selling, { equals: context.replicas - 1 }),
        ]
      },
    },
    fix: {
      title: (replicas) => `with a flag that ${replicas} replicas share, all go by it within a second`,
      async run(context) {
        const { size, progress } = context
        const shop = await open(context)
        const heard: number[] = []
        for (let i = 0; i < size.turns; i++) {
          heard.push(await turnAndWatch(shop, false), await turnAndWatch(shop, true))
          progress(i + 1, 2 * size.turns)
        }
        const unheard: number[] = []
        await withoutBroadcast(shop, async () => {
          for (let i = 0; i < size.turns; i++) {
            unheard.push(await turnAndWatch(shop, false), await turnAndWatch(shop, true))
            progress(size.turns + i + 1, 2 * size.turns)
          }
        })
        return [
          check('turns', heard.length + unheard.length, { equals: 4 * size.turns }),
          check('slowest until every replica goes by it (ms)', Math.max(...heard), { atMost: 1000 }),
          check('slowest with the broadcast lost (ms)', Math.max(...unheard), { atMost: 1000 }),
          check('an unknown flag is answered', (await set(shop, 'salesopen', true)).body.code, {
            equals: 'E_UNKNOWN_FLAG',
          }),
        ]
      },
    },
  },
})

interface Shop {
  cluster: Cluster
  organiser: Client
  path: string
  /** Each buys at one replica. */
  direct: Client[]
}

async function open({ cluster: start }: LabContext<Size>, naive?: URL): Promise<Shop> {
  const cluster = await start({ naive })
  const organiser = createClient(cluster.url)
  await organiser.logInAsOrganiser()
  const { id } = expectStatus(await organiser.post('/v1/shows', show), 201).body
  const direct = cluster.replicas.map(({ url }) => createClient(url))
  for (const client of direct) for (const [name, value] of organiser.cookies) client.cookies.set(name, value)
  return { cluster, organiser, path: `/v1/shows/${id}/orders`, direct }
}

const set = ({ organiser }: Shop, name: string, value: boolean) => organiser.put(`/v1/flags/${name}`, { value })

async function turn(shop: Shop, value: boolean): Promise<void> {
  expectStatus(await set(shop, 'salesOpen', value), 200)
}

async function sells(shop: Shop, client: Client): Promise<boolean> {
  const { status, body } = await client.post(shop.path, { quantity: 1 }, { 'idempotency-key': randomUUID() })
  if (status === 201) return true
  if (body?.code === 'E_SALES_CLOSED') return false
  throw new Error(`an order was answered ${status} ${JSON.stringify(body)}`)
}

async function countSelling(shop: Shop): Promise<number> {
  const answers = await Promise.all(shop.direct.map((client) => sells(shop, client)))
  return answers.filter(Boolean).length
}

async function turnAndWatch(shop: Shop, value: boolean): Promise<number> {
  await turn(shop, value)
  const startedAt = performance.now()
  const watch = async (client: Client) => {
    while ((await sells(shop, client)) !== value) {
      if (performance.now() - startedAt > 10_000) throw new Error('a replica does not follow for 10 s')
      await wait(5)
    }
  }
  await Promise.all(shop.direct.map(watch))
  return performance.now() - startedAt
}

/** Nobody may subscribe: every message is lost. */
async function withoutBroadcast({ cluster }: Shop, run: () => Promise<void>): Promise<void> {
  const redis = new Redis(cluster.cacheRedisUrl)
  try {
    await redis.call('ACL', 'SETUSER', 'default', '-subscribe')
    await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
    await run()
  } finally {
    await redis.call('ACL', 'SETUSER', 'default', '+subscribe')
    redis.disconnect()
  }
}
