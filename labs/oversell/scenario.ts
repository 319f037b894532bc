import type { Client, ClientAnswer } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import pg from 'pg'
import { check, defineLab, type LabContext } from '../lab.ts'
import { addShow, createBuyer, createOrganiser, elsewhere, order } from '../shop.ts'

interface Size {
  /** Each with a show of its own. */
  rounds: number
  /** Users; each sends the same share of the 60 orders. */
  users: number
}

const capacity = 10
const buyers = 60

export const lab = defineLab<Size>({
  slug: 'oversell',
  sample: true,
  problem: 'The last ticket is sold three times.',
  sizes: { full: { rounds: 10, users: 60 }, test: { rounds: 3, users: 6 } },
  halves: {
    problem: {
      title: (replicas) => `with a mutex in each of ${replicas} replicas, more tickets are sold than there are`,
      async run(context) {
        const market = await open(context, new URL('./naive.ts', import.meta.url))
        const [one] = market.cluster.replicas
        const regulars = market.users.map((user) => elsewhere(user, one?.url ?? ''))
        const alone = await sell(context, { ...market, users: regulars }, 0, 2)
        const { sold, accounts, others } = await sell(context, market, 1, 2)
        return [
          check('through one replica alone: rounds that sold more than 10', alone.sold.filter(tooMany).length, {
            equals: 0,
          }),
          check('rounds that sold more than 10', sold.filter(tooMany).length, { atLeast: context.size.rounds / 2 }),
          check('tickets sold in the worst round', Math.max(...sold), { atLeast: capacity + 1 }),
          check('rounds in which sold + available = capacity', accounts, { atMost: context.size.rounds / 2 }),
          check('responses that were neither an order nor sold out', others, { equals: 0 }),
        ]
      },
    },
    fix: {
      title: (replicas) =>
        `with one conditional UPDATE on ${replicas} replicas, exactly the available tickets are sold`,
      async run(context) {
        const { sold, accounts, others } = await sell(context, await open(context))
        return [
          check('rounds that sold more than 10', sold.filter(tooMany).length, { equals: 0 }),
          check('tickets sold in the worst round', Math.max(...sold), { equals: capacity }),
          check('tickets sold in the leanest round', Math.min(...sold), { equals: capacity }),
          check('rounds in which sold + available = capacity', accounts, { equals: context.size.rounds }),
          check('responses that were neither an order nor sold out', others, { equals: 0 }),
        ]
      },
    },
  },
})

const tooMany = (sold: number) => sold > capacity

interface Market {
  cluster: Cluster
  organiser: Client
  users: Client[]
}

async function open({ cluster: start, size }: LabContext<Size>, parts?: URL): Promise<Market> {
  const cluster = await start({ parts })
  const organiser = await createOrganiser(cluster)
  return { cluster, organiser, users: await Promise.all(times(size.users, () => createBuyer(cluster))) }
}

/** Round after round: 10 tickets, and 60 orders for one each, all at once. */
async function sell({ size, progress }: LabContext<Size>, { cluster, organiser, users }: Market, part = 0, parts = 1) {
  const sold: number[] = []
  let accounts = 0
  let others = 0
  for (let round = 0; round < size.rounds; round++) {
    const show = await addShow(organiser, capacity)
    const answers = await Promise.all(users.flatMap((user) => times(buyers / size.users, () => order(user, show))))
    sold.push(answers.filter(({ status }) => status === 201).length)
    others += answers.filter((answer) => answer.status !== 201 && !isSoldOut(answer)).length
    if (await addsUp(cluster.databaseUrl, show)) accounts++
    progress(part * size.rounds + round + 1, parts * size.rounds)
  }
  for (const user of users) user.close()
  return { sold, accounts, others }
}

const isSoldOut = ({ body }: ClientAnswer) => body?.code === 'E_SOLD_OUT'
const times = <T>(count: number, make: () => T): T[] => Array.from({ length: count }, make)

async function addsUp(databaseUrl: string, show: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: databaseUrl })
  await client.connect()
  try {
    const { rows } = await client.query(
      `SELECT capacity = available + (SELECT sum(quantity) FROM orders WHERE show_id = shows.id) AS ok
       FROM shows WHERE id = $1`,
      [show.split('/').at(-1)],
    )
    return rows[0].ok
  } finally {
    await client.end()
  }
}
