import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import type { Client } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { startFaultProxy } from '@escala/testing/fault-proxy'
import { check, defineLab, type LabContext } from '../lab.ts'
import { createBuyer, createShow, elsewhere, listOrders, order } from '../shop.ts'
import { interruptOrder } from './interrupt.ts'
import { standStill } from './stand-still.ts'

interface Size {
  copies: number
  /** Requests whose answer is lost once, so that the client tries again. */
  lostAnswers: number
  /** How often a replica is paused, and how often one is killed, in the middle of an order. */
  interruptions: number
}

export const lab = defineLab<Size>({
  slug: 'idempotency',
  sample: true,
  problem: 'A client that retries after a lost response buys twice.',
  sizes: {
    full: { copies: 60, lostAnswers: 50, interruptions: 5 },
    test: { copies: 60, lostAnswers: 10, interruptions: 1 },
  },
  halves: {
    problem: {
      title: (replicas) => `without idempotency keys on ${replicas} replicas, each copy of a request is an order`,
      async run(context) {
        const { copies, lost, foreign } = await sendCopies(context, new URL('./naive.ts', import.meta.url))
        return [
          check('orders from parallel copies of one request', copies.orders, { equals: context.size.copies }),
          check('orders for each request whose response was lost once', lost.orders / lost.requests, { equals: 2 }),
          check('status for another body under the same key', foreign.otherBody, { equals: 201 }),
        ]
      },
    },
    fix: {
      title: (replicas) => `with idempotency keys on ${replicas} replicas, each request is one order`,
      async run(context) {
        const parts = new URL('./transaction.ts', import.meta.url)
        const { cluster, buyer, show, copies, lost, foreign } = await sendCopies(context, parts)
        const paused = await interrupt(context, cluster, buyer, show, 'pause')
        const killed = await interrupt(context, cluster, buyer, show, 'kill')
        const stood = await standStill(cluster)
        return [
          check('orders from parallel copies of one request', copies.orders, { equals: 1 }),
          check('copies that were replayed or refused', copies.replayed + copies.inProgress, {
            equals: context.size.copies - 1,
          }),
          check('orders for each request whose response was lost once', lost.orders / lost.requests, { equals: 1 }),
          check('retries that got the first response again', lost.replayed, { equals: lost.requests }),
          check('status for another body under the same key', foreign.otherBody, { equals: 422 }),
          check("another user's orders under the same key", foreign.otherUser, { equals: 1 }),
          check('orders for each replica paused in the middle', paused.orders, { equals: 1 }),
          check('until the retry succeeded, at most, ms', paused.slowestMs, { atMost: 2000 }),
          check('orders for each replica killed in the middle', killed.orders, { equals: 1 }),
          check('until that retry succeeded, at most, ms', killed.slowestMs, { atMost: 2000 }),
          check('effects of a transaction whose replica was paused', stood.deposits, { equals: 1 }),
          check('until its retry succeeded, ms', stood.retryMs, { atMost: 4000 }),
        ]
      },
    },
  },
})

async function sendCopies({ cluster: start, size, progress }: LabContext<Size>, parts: URL) {
  const cluster = await start({ parts })
  const show = await createShow(cluster)
  const buyer = await createBuyer(cluster)

  const key = randomUUID()
  const answers = await Promise.all(Array.from({ length: size.copies }, () => order(buyer, show, key)))
  const copies = {
    orders: (await listOrders(buyer)).length,
    replayed: answers.filter(({ headers }) => headers['idempotency-replayed'] === 'true').length,
    inProgress: answers.filter(({ body }) => body?.code === 'E_IDEMPOTENCY_IN_PROGRESS').length,
  }
  const otherBody = (await order(buyer, show, key, 2)).status
  const stranger = await createBuyer(cluster)
  await order(stranger, show, key)

  return {
    cluster,
    buyer,
    show,
    copies,
    lost: await loseAnswers(cluster, show, size.lostAnswers, progress),
    foreign: { otherBody, otherUser: (await listOrders(stranger)).length },
  }
}

/** A network that carries the request and loses the answer. The client does what a good one does: the same again, same key. */
async function loseAnswers(cluster: Cluster, show: string, requests: number, progress: LabContext<Size>['progress']) {
  const proxy = await startFaultProxy({ target: cluster.url })
  const buyer = await createBuyer(cluster)
  const far = elsewhere(buyer, proxy.url)
  let replayed = 0
  for (let n = 0; n < requests; n++) {
    const key = randomUUID()
    proxy.dropNextReply()
    const first = await order(far, show, key)
    const second = first.status === 0 ? await order(far, show, key) : first
    if (second.headers['idempotency-replayed'] === 'true') replayed++
    progress(n + 1, requests)
  }
  far.close()
  await proxy.stop()
  return { requests, replayed, orders: (await listOrders(buyer)).length }
}

/** A replica stops or dies between the order's rows and their commit; meanwhile the client tries again, elsewhere. */
async function interrupt(
  { size }: LabContext<Size>,
  cluster: Cluster,
  buyer: Client,
  show: string,
  how: 'pause' | 'kill',
): Promise<{ orders: number; slowestMs: number }> {
  const before = (await listOrders(buyer)).length
  let slowestMs = 0
  for (let n = 0; n < size.interruptions; n++) {
    const victim = cluster.replicas[n % 2]
    const other = cluster.replicas.find((replica) => replica !== victim)
    if (!victim || !other) throw new Error('this lab needs 2 replicas')
    const key = randomUUID()
    const { answer } = await interruptOrder({ cluster, client: elsewhere(buyer, victim.url), show, key }, () =>
      victim[how](),
    )
    const startedAt = performance.now()
    const retry = elsewhere(buyer, other.url)
    while ((await order(retry, show, key)).status !== 201) await wait(50)
    slowestMs = Math.max(slowestMs, performance.now() - startedAt)
    if (how === 'pause') await victim.resume()
    else await victim.restart()
    await answer
  }
  return { orders: ((await listOrders(buyer)).length - before) / size.interruptions, slowestMs }
}
