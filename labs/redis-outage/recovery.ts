import { type Client, type ClientAnswer, expectStatus } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { Redis } from 'ioredis'
import type { Listener } from '../live-updates/listener.ts'
import { isWell, until } from '../recovery.ts'
import { elsewhere, order } from '../shop.ts'

const schedules = 'accounts-clean, kit-clean, orders-sweep, reports-sales'

export interface Recovering {
  buyer: Client
  logIn(): Promise<unknown>
  show: string
  accepted(answer: ClientAnswer): ClientAnswer
  /** Open since before the outage. */
  live: Listener
}

/**
 * Milliseconds until all is well: every process says so, every replica reads sessions, the schedules stand, a new order is
 * accepted and confirmed, and clients that watch the show see it.
 */
export async function recovered(cluster: Cluster, { buyer, logIn, show, accepted, live }: Recovering): Promise<number> {
  const startedAt = performance.now()
  const { replicas, workers } = cluster
  await Promise.all([
    ...replicas.map(({ id, url, internalUrl }) =>
      until(`${id} is well`, async () => {
        // A replica without requests does not find out that it may count together with the others again.
        const { status } = await once(elsewhere(buyer, url), (client) => client.get('/v1/session'))
        return (status === 200 || status === 401) && (await isWell(internalUrl))
      }),
    ),
    ...workers.map(({ id, internalUrl }) => until(`${id} is well`, () => isWell(internalUrl))),
    until('the schedules stand', async () => (await standingSchedules(cluster)) === schedules),
  ])
  await logIn()
  const placed = accepted(expectStatus(await order(buyer, show), 201))
  await until('the order is confirmed', async () => {
    const { body } = await buyer.get(`/v1/orders/${placed.body.id}`)
    return body.status === 'confirmed'
  })
  await until('the watcher sees the sale', async () => live.seen.at(-1) === (await buyer.get(show)).body.available)
  return performance.now() - startedAt
}

/** As Redis has them. */
async function standingSchedules({ redisUrl }: Cluster): Promise<string> {
  const redis = new Redis(redisUrl)
  const names = await redis.zrange('{escala}:jobs-schedules:repeat', '0', '-1')
  redis.disconnect()
  return names.sort().join(', ')
}

async function once<T>(client: Client, ask: (client: Client) => Promise<T>): Promise<T> {
  const answer = await ask(client)
  client.close()
  return answer
}
