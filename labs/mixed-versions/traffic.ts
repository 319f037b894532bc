import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { type Client, expectStatus } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { startTraffic } from '@escala/testing/traffic'
import { addShow, createBuyer, createOrganiser, order } from '../shop.ts'

export interface ShopTraffic {
  buyer: Client
  stop(): Promise<Seen>
}

export interface Seen {
  orders: { accepted: number; failures: Record<string, number>; failed: number }
  /** Number of orders sent again under their key that got a different response than the first one. */
  otherAnswers: number
  /** Reads of the show and of the own orders. */
  reads: { total: number; failures: Record<string, number>; failed: number }
  /** Reads of the show that were older than a change that had been acknowledged two seconds before. */
  staleReads: number
}

const staleAfterMs = 2000

/** A client orders, each order twice under one key; many look; and now and then the organiser changes the show. */
export async function startShopTraffic(cluster: Cluster, ordersPerSecond: number): Promise<ShopTraffic> {
  const organiser = await createOrganiser(cluster)
  const show = await addShow(organiser, 100_000)
  const buyer = await createBuyer(cluster)
  const accepted = new Set<string>()
  let otherAnswers = 0
  let staleReads = 0

  const orders = startTraffic(ordersPerSecond, async () => {
    const key = randomUUID()
    const first = await order(buyer, show, key)
    if (first.status !== 201) return first
    accepted.add(first.body.id)
    const again = await order(buyer, show, key)
    if (again.status !== 201 || !isDeepStrictEqual(again.body, first.body)) otherAnswers++
    return first
  })

  const changes = [{ version: 1, at: performance.now() }]
  const reads = startTraffic(4 * ordersPerSecond, async (index) => {
    if (index % 4 === 0) return await buyer.get('/v1/orders?limit=5')
    const sentAt = performance.now()
    const known = changes.findLast(({ at }) => at < sentAt - staleAfterMs)?.version ?? 0
    const answer = await buyer.get(show)
    if (answer.status === 200 && answer.body.version < known) staleReads++
    return answer
  })

  const stopping = new AbortController()
  const changing = (async () => {
    for (let version = 1; !stopping.signal.aborted; version++) {
      await wait(300, undefined, { signal: stopping.signal }).catch(() => undefined)
      const name = { name: `Lab Night ${version}` }
      expectStatus(await organiser.patch(show, name, { 'If-Match': `"${version}"` }), 200)
      changes.push({ version: version + 1, at: performance.now() })
    }
  })()
  // A change that fails is thrown by `stop`, and must not end the process before.
  changing.catch(() => undefined)

  return {
    buyer,
    async stop() {
      stopping.abort()
      const [ordersSeen, readsSeen] = await Promise.all([orders.stop(), reads.stop()])
      await changing
      organiser.close()
      return {
        orders: { accepted: accepted.size, failures: ordersSeen.failures, failed: ordersSeen.failed },
        otherAnswers,
        reads: readsSeen,
        staleReads,
      }
    },
  }
}
