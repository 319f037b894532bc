import { setTimeout as wait } from 'node:timers/promises'
import { type Client, createClient, expectStatus } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { Redis } from 'ioredis'
import { check, defineLab, type LabContext } from '../lab.ts'
import { addShow, createOrganiser, elsewhere, withoutBroadcast } from '../shop.ts'
import { type Gate, gateLoads } from './slow-loads.ts'

interface Size {
  /** Price changes, one after the other. */
  changes: number
  /** Reads through NGINX after each change. */
  reads: number
}

export const lab = defineLab<Size>({
  slug: 'stale-cache',
  sample: true,
  problem: 'After a price change, the old and the new price alternate.',
  sizes: { full: { changes: 200, reads: 30 }, test: { changes: 100, reads: 30 } },
  halves: {
    problem: {
      title: (replicas) => `with a cache in each of ${replicas} replicas, old and new prices alternate`,
      async run(context) {
        const { replicas } = context
        const shop = await open(context, new URL('./naive.ts', import.meta.url))
        const { old, backwards } = await changeAndRead(shop, context, 5)
        const share = 1 - 1 / replicas
        return [
          check('reads after a change', 5 * context.size.reads, { atLeast: 1 }),
          check('that returned an old price', old, { atLeast: 5 * context.size.reads * share * 0.7 }),
          check('that were older than the read before', backwards, { atLeast: 5 }),
        ]
      },
    },
    fix: {
      title: (replicas) => `with two tiers and invalidation on ${replicas} replicas, all have the new price at once`,
      async run(context) {
        const { size } = context
        const shop = await open(context)
        const gate = await gateLoads(shop.cluster.databaseUrl)
        const delays = await changeAndWatch(shop, context)
        const { backwards } = await changeAndRead(shop, context, 5)
        const deafMs = await changeUnheard(shop)
        const reconnectedMs = await changeWhileReconnecting(shop)
        const wentBack = await changeInTheMiddle(shop, gate)
        const broughtBack = await changeInTheMiddleUnheard(shop, gate)
        await gate.stop()
        return [
          check('changes', delays.length, { equals: size.changes }),
          check('p99 of how long after the change an old price was returned (ms)', percentile(delays, 99), {
            atMost: 100,
          }),
          check('reads that were older than the read before', backwards, { equals: 0 }),
          check('the same with every message lost (ms)', deafMs, { between: [0, 5500] }),
          check('the same with a message lost in a reconnect (ms)', reconnectedMs, {
            atMost: 2000,
          }),
          check('old prices from a replica that had returned the new one', wentBack, { equals: 0 }),
          check('old prices that a load from before the change brought back', broughtBack, { equals: 0 }),
        ]
      },
    },
  },
})

interface Shop {
  cluster: Cluster
  organiser: Client
  path: string
  version: number
  /** Each asks one replica. */
  direct: Client[]
}

async function open({ cluster: start }: LabContext<Size>, parts?: URL): Promise<Shop> {
  const cluster = await start({ parts })
  const organiser = await createOrganiser(cluster)
  const path = await addShow(organiser, 100)
  return { cluster, organiser, path, version: 1, direct: cluster.replicas.map(({ url }) => createClient(url)) }
}

/** Every replica has the show in its cache before it changes. */
async function change(shop: Shop): Promise<number> {
  for (const client of shop.direct) await client.get(shop.path)
  const priceCents = 1000 + shop.version
  const headers = { 'if-match': `"${shop.version}"` }
  shop.version = expectStatus(await shop.organiser.patch(shop.path, { priceCents }, headers), 200).body.version
  return priceCents
}

async function changeAndRead(shop: Shop, { size, progress }: LabContext<Size>, changes: number) {
  let [old, backwards] = [0, 0]
  for (let i = 0; i < changes; i++) {
    const price = await change(shop)
    let before = 0
    for (let read = 0; read < size.reads; read++) {
      const { body } = await shop.organiser.get(shop.path)
      if (body.priceCents !== price) old++
      if (body.priceCents < before) backwards++
      before = body.priceCents
    }
    progress(i + 1, changes)
  }
  return { old, backwards }
}

async function changeAndWatch(shop: Shop, { size, progress }: LabContext<Size>): Promise<number[]> {
  const delays: number[] = []
  while (delays.length < size.changes) {
    delays.push(await staleFor(shop, await change(shop)))
    progress(delays.length, size.changes)
  }
  return delays
}

/** Reads every replica until it returns the new price; returns when the last read that got the old one began. */
async function staleFor(shop: Shop, price: number): Promise<number> {
  const changedAt = performance.now()
  let lastStaleAt = changedAt
  const watch = async (client: Client) => {
    for (;;) {
      const begunAt = performance.now()
      if ((await client.get(shop.path)).body.priceCents === price) return
      lastStaleAt = Math.max(lastStaleAt, begunAt)
      if (begunAt - changedAt > 20_000) throw new Error('a replica keeps the old price for 20 s')
      await wait(1)
    }
  }
  await Promise.all(shop.direct.map(watch))
  return lastStaleAt - changedAt
}

/** The first tier's age is all that helps. */
function changeUnheard(shop: Shop): Promise<number> {
  return withoutBroadcast(shop.cluster, async () => {
    await wait(1000) // they have connected again, and may not listen
    return await staleFor(shop, await change(shop))
  })
}

async function changeWhileReconnecting(shop: Shop): Promise<number> {
  await wait(1000) // they listen again
  const redis = new Redis(shop.cluster.cacheRedisUrl)
  for (const client of shop.direct) await client.get(shop.path)
  await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
  redis.disconnect()
  return staleFor(shop, await change(shop))
}

/** Begins to load a show at one replica, and changes it at another one before the load ends. */
async function changeDuringLoad({ cluster, organiser, direct }: Shop, gate: Gate) {
  const [loading, changing] = cluster.replicas
  if (!loading || !changing || !direct[0]) throw new Error('this lab needs 2 replicas')
  const path = await addShow(organiser, 100)
  await gate.close(loading.id)
  const answer = direct[0].get(path)
  await gate.waits()
  const elsewhereToo = elsewhere(organiser, changing.url)
  const price = 2000
  expectStatus(await elsewhereToo.patch(path, { priceCents: price }, { 'if-match': '"1"' }), 200)
  elsewhereToo.close()
  return { path, price, answer, reader: direct[0] }
}

async function changeInTheMiddle(shop: Shop, gate: Gate): Promise<number> {
  await wait(1000) // they listen again
  const { path, price, answer, reader } = await changeDuringLoad(shop, gate)
  const end = performance.now() + 1000 // no load lasts for longer
  while ((await reader.get(path)).body.priceCents !== price && performance.now() < end) await wait(5)
  await gate.open()
  const { status, body } = await answer
  return status === 200 && body.priceCents !== price ? 1 : 0
}

/** What comes into Redis too late meets a replica that knows nothing of the show, and has heard nothing. */
async function changeInTheMiddleUnheard(shop: Shop, gate: Gate): Promise<number> {
  const { url } = await shop.cluster.addReplica()
  return withoutBroadcast(shop.cluster, async () => {
    await wait(1000) // they have connected again, and may not listen
    const { path, price, answer } = await changeDuringLoad(shop, gate)
    await gate.open()
    await answer
    await wait(300) // its value goes to Redis behind the answer
    const stranger = createClient(url)
    const { body } = await stranger.get(path)
    stranger.close()
    return body.priceCents === price ? 0 : 1
  })
}

function percentile(values: number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)] ?? 0
}
