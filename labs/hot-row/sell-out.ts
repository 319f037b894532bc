import { randomUUID } from 'node:crypto'
import type { Client } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { withClient } from '@escala/testing/test-database'
import { addShow, createBuyer, createOrganiser, order } from '../shop.ts'
import { inTurns, untilAnswered } from './sale.ts'

interface Wish {
  user: Client
  show: string
  quantity: number
  key: string
}

interface Row {
  show: string
  available: number
  beyond: number
  orders: string[]
}

/**
 * A crowd that wants more tickets of two shows than there are, one to four each, while a replica is killed and started again.
 * Every fifth order is sent twice at the same time.
 */
export async function sellOut(cluster: Cluster, crowd: number) {
  const organiser = await createOrganiser(cluster)
  const shows = await Promise.all([0, 1].map(() => addShow(organiser, crowd)))
  const users = await Promise.all([0, 1, 2, 3].map(() => createBuyer(cluster)))
  const wishes = Array.from({ length: crowd }, (_, at): Wish => {
    const [user, show] = [users[(at >> 1) % users.length] as Client, shows[at % 2] as string]
    return { user, show, quantity: 1 + ((at * 7) % 4), key: randomUUID() }
  })
  cluster.postgresProxy.delay(10)
  const answered = new Map<Wish, Set<string>>()
  const refused: Wish[] = []
  let dying: Promise<void> | undefined
  await inTurns(wishes, 60, async (wish, at) => {
    const { user, show, quantity, key } = wish
    const send = () => untilAnswered(() => order(user, show, key, quantity))
    const copies = await Promise.all(at % 5 === 0 ? [send(), send()] : [send()])
    const ids = copies.flatMap(({ status, body }) => (status === 201 ? [body.id as string] : []))
    if (ids.length > 0) answered.set(wish, new Set(ids))
    if (ids.length < copies.length) refused.push(wish)
    if (answered.size > crowd / 10) dying ??= cluster.replicas[1]?.restart()
  })
  await dying
  await cluster.postgresProxy.heal()
  for (const client of [organiser, ...users]) client.close()

  const rows = await account(cluster, shows)
  const there = new Set(rows.flatMap(({ orders }) => orders))
  const confirmed = [...answered.values()].flatMap((ids) => [...ids])
  const left = (show: string) => rows.find((row) => show.endsWith(row.show))?.available ?? 0
  return {
    oversold: rows.reduce((sum, { beyond }) => sum + Math.abs(beyond), 0),
    lost: confirmed.filter((id) => !there.has(id)).length,
    doubled: there.size - answered.size,
    refused: refused.filter(({ show, quantity }) => left(show) >= quantity).length,
  }
}

async function account({ databaseUrl }: Cluster, shows: string[]): Promise<Row[]> {
  const ids = shows.map((show) => show.split('/').at(-1))
  const text = `SELECT shows.id AS show, available, sum(quantity)::int - (capacity - available) AS beyond,
      array_agg(orders.id::text) AS orders
    FROM shows JOIN orders ON show_id = shows.id WHERE shows.id = ANY($1) GROUP BY shows.id`
  return withClient(databaseUrl, async (client) => (await client.query<Row>(text, [ids])).rows)
}
