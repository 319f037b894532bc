import { setTimeout as wait } from 'node:timers/promises'
import { expectStatus } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { type Check, check } from '../lab.ts'
import { listen } from '../live-updates/listener.ts'
import { until } from '../recovery.ts'
import { elsewhere, order } from '../shop.ts'
import { faults } from './faults.ts'
import { recovered } from './recovery.ts'
import { type Asked, requests } from './requests.ts'
import type { Seen } from './responses-seen.ts'
import type { Shop } from './shop.ts'

interface Size {
  rounds: number
  everyMs: number
  orders: number
  maxMs: number
}

/** One kind of outage: what every route answers meanwhile, and how long until all is well again. */
export async function outage(cluster: Cluster, name: string, shop: Shop, size: Size, seen: Seen): Promise<Check[]> {
  const fault = faults[name]
  if (fault === undefined) throw new Error(`there is no fault ${name}`)
  await shop.logIn()
  await cluster.payments.behave({ latencyMs: 300 }) // so that jobs are waiting when Redis goes
  const placed = await Promise.all(Array.from({ length: size.orders }, () => order(shop.buyer, shop.show)))
  for (const answer of placed) shop.accepted(expectStatus(answer, 201))
  // As they were before, whatever happens to those of the shop.
  const asked: Asked = {
    ...shop,
    buyer: elsewhere(shop.buyer, cluster.url),
    organiser: elsewhere(shop.organiser, cluster.url),
    leaver: elsewhere(shop.leaver, cluster.url),
  }
  const live = listen(`${cluster.url}${shop.show}/live`)
  await until('a client watches', async () => live.seen.length > 0)

  await fault.begin(cluster)
  await cluster.payments.behave({})
  const pids = pidsOf(cluster)
  const recover = () => recovered(cluster, { ...shop, live })
  const emptyMs = fault.isShort ? await recover() : 0
  await Promise.all(
    Array.from({ length: size.rounds }, (_, round) => wait(round * size.everyMs).then(() => askAll(asked, seen))),
  )
  await (fault.end ?? heal)(cluster)
  const recoveryMs = emptyMs || (await recover())

  live.stop()
  for (const client of [asked.buyer, asked.organiser, asked.leaver]) client.close()
  return [
    check(`${name}: answers other than in the table`, seen.unexpected(fault.state), { equals: 'none' }),
    check(`${name}: p99 of the slowest route, ms`, seen.p99Ms(), {
      atMost: size.maxMs + (fault.slowerMs ?? 0),
    }),
    check(`${name}: ms until all is well again`, recoveryMs, { atMost: 5000 }),
    check(`${name}: processes that ended`, pidsOf(cluster).filter((pid, at) => pid !== pids[at]).length, { equals: 0 }),
  ]
}

async function askAll(asked: Asked, seen: Seen): Promise<void> {
  await Promise.all(
    Object.entries(requests).map(async ([route, ask]) => {
      const askedAt = performance.now()
      seen.add(route, await ask(asked), performance.now() - askedAt)
    }),
  )
}

const heal = ({ redisProxy }: Cluster) => redisProxy.heal()

const pidsOf = ({ replicas, workers }: Cluster) =>
  [...replicas, ...workers].map((replica) => (replica.running() ? replica.pid : 0))
