import { setTimeout as wait } from 'node:timers/promises'
import { type Client, expectStatus } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { check, defineLab, type LabContext } from '../lab.ts'
import { addShow, createOrganiser, elsewhere, order, withoutBroadcast } from '../shop.ts'

interface Size {
  /** How often the sales are closed and opened again. */
  turns: number
  /** How often while the broadcast is lost, and the heartbeat has to find it. */
  unheard: number
}

export const lab = defineLab<Size>({
  slug: 'flags',
  sample: true,
  problem: 'A flag is changed, and only one replica notices.',
  sizes: { full: { turns: 30, unheard: 5 }, test: { turns: 5, unheard: 1 } },
  halves: {
    problem: {
      title: (replicas) =>
        `with a flag in the memory of ${replicas} replicas, one closes the sales and the others keep selling`,
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
      title: (replicas) => `with a flag that ${replicas} replicas share, all follow it at once`,
      async run(context) {
        const { size, progress } = context
        const shop = await open(context)
        const heard: number[] = []
        for (let i = 0; i < size.turns; i++) {
          heard.push(await turnAndWatch(shop, false), await turnAndWatch(shop, true))
          progress(i + 1, size.turns + size.unheard)
        }
        const unheard: number[] = []
        await withoutBroadcast(shop.cluster, async () => {
          for (let i = 0; i < size.unheard; i++) {
            unheard.push(await turnAndWatch(shop, false), await turnAndWatch(shop, true))
            progress(size.turns + i + 1, size.turns + size.unheard)
          }
        })
        const unknown = (await set(shop, 'salesopen', true)).body.code
        await shop.cluster.stop()
        const told = await open(context, new URL('./rare-polls.ts', import.meta.url))
        const toldMs = await turnAndWatch(told, false)
        return [
          check('turns', heard.length + unheard.length, { equals: 2 * (size.turns + size.unheard) }),
          check('slowest until every replica follows it (ms)', Math.max(...heard), { atMost: 1000 }),
          check('slowest with the broadcast lost (ms)', Math.max(...unheard), { atMost: 5000 }),
          check('the same with the broadcast alone, and a poll a minute (ms)', toldMs, { atMost: 1000 }),
          check('response for an unknown flag', unknown, { equals: 'E_UNKNOWN_FLAG' }),
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

async function open({ cluster: start }: LabContext<Size>, parts?: URL): Promise<Shop> {
  const cluster = await start({ parts, env: { HEARTBEAT_MS: '5000' } }) // as it is by default
  const organiser = await createOrganiser(cluster)
  const path = await addShow(organiser, 1_000_000)
  return { cluster, organiser, path, direct: cluster.replicas.map(({ url }) => elsewhere(organiser, url)) }
}

const set = ({ organiser }: Shop, name: string, value: boolean) => organiser.put(`/v1/flags/${name}`, { value })

async function turn(shop: Shop, value: boolean): Promise<void> {
  expectStatus(await set(shop, 'salesOpen', value), 200)
}

async function sells(shop: Shop, client: Client): Promise<boolean> {
  const { status, body } = await order(client, shop.path)
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
