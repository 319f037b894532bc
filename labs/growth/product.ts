import { randomUUID } from 'node:crypto'
import { createPostgresFlags } from '@escala/kit/flags/postgres'
import { cleanIdempotencyKeys } from '@escala/kit/idempotency/delete-old-keys'
import { createPostgresIdempotency } from '@escala/kit/idempotency/postgres'
import { cleanOutbox } from '@escala/kit/outbox/delete-published'
import { createRelay } from '@escala/kit/outbox/relay'
import { everyReplicaVerifiesArgon2id } from '@escala/kit/passwords/roll-out'
import type { Postgres } from '@escala/kit/postgres/postgres'
import { ticketFlags } from '@escala/tickets/flags'
import { type NewOrder, placeOrder, whyRefused } from '@escala/tickets/orders'
import type { Shop } from '@escala/tickets/test-shop'
import { markFailed, noteReturnedCharge, readOrderAtWork, releaseOrder } from '@escala/tickets/transitions'
import { republishLost } from '../../packages/kit/src/outbox/republish-lost.ts'
import { useAccounts } from './accounts.ts'
import { uuid } from './fill.ts'

/** Runs what the product does with Postgres: its routes, its jobs, and what the processes do by themselves. */
export async function useProduct(shop: Shop): Promise<void> {
  const one = async (text: string) => (await shop.postgres.query<{ id: string }>(text)).rows[0]?.id as string
  const customer = await one(`SELECT ${uuid(`'user777'`)} AS id`)
  const organiser = await shop.addUser('organiser')
  const show = await one(`SELECT ${uuid(`'show1000'`)} AS id`)
  await useRoutes(shop, customer, organiser, show)
  await useJobs(shop, customer, show)
  await useKit(shop.postgres, shop, customer, show)
}

async function useRoutes(shop: Shop, customer: string, organiser: string, show: string) {
  const get = async (path: string, userId = customer) => {
    const { status, body } = await shop.send('GET', path, { userId })
    if (status >= 500) throw new Error(`GET ${path}: ${status} ${JSON.stringify(body)}`)
    return body
  }
  const pages = async (path: string, userId?: string) => {
    const { nextCursor } = await get(`${path}?limit=10`, userId)
    if (nextCursor) await get(`${path}?limit=10&cursor=${nextCursor}`, userId)
  }
  await pages('/v1/shows')
  await pages('/v1/orders')
  await pages('/v1/reports/sales', organiser)
  await get(`/v1/shows/${show}`)
  const startsAt = '2031-01-01T20:00:00Z'
  const body = { name: 'New', startsAt, priceCents: 100, currency: 'EUR', capacity: 10 }
  await shop.send('POST', '/v1/shows', { userId: organiser, body })
  await shop.send('POST', '/v1/shows', { userId: organiser, body, headers: { 'idempotency-key': randomUUID() } })
  const change = { userId: organiser, body: { priceCents: 2600 }, headers: { 'if-match': '"1"' } }
  await shop.send('PATCH', `/v1/shows/${show}`, change)
  const png = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1')
  const headers = { 'test-user': organiser, 'content-type': 'image/png' }
  await fetch(shop.url(`/v1/shows/${show}/poster`), { method: 'PUT', headers, body: png })
  await fetch(shop.url(`/v1/shows/${show}/poster`))
  const key = randomUUID()
  const { id } = (await shop.order(customer, show, { key })).body
  await shop.order(customer, show, { key })
  await get(`/v1/orders/${id}`)
  await shop.send('DELETE', `/v1/orders/${id}`, { userId: customer })
  // The first goes alone, the others wait for it and go together.
  await Promise.all(Array.from({ length: 20 }, () => shop.order(customer, show)))
  await shop.order(customer, (await shop.addShow(1)).id, { quantity: 2 })
}

async function useJobs(shop: Shop, customer: string, show: string) {
  const order = async (showId = show) => ({ orderId: (await shop.order(customer, showId)).body.id as string })
  const run = async (type: string, payload?: unknown) => {
    const failure = await shop.run(type, payload)
    if (failure) throw failure
  }
  const paid = await order()
  await run('order.charge', paid)
  await run('order.mail', paid)
  await shop.send('DELETE', `/v1/orders/${paid.orderId}`, { userId: customer })
  await run('order.refund', paid)
  await run('order.charge', await order((await shop.addShow(10, 1013)).id))
  await run('orders.sweep')
  const { orderId } = await order()
  await readOrderAtWork(shop.postgres, orderId)
  await releaseOrder(shop.postgres, orderId)
  await markFailed(shop.postgres, orderId)
  await noteReturnedCharge(shop.postgres, orderId, 'charge')
  for (const column of ['hold_until', 'touched_at'] as const) {
    for (let n = 0; n < 10; n++) await shop.age((await order()).orderId, column)
  }
  await run('orders.sweep')
  await run('reports.sales')
}

async function useKit(postgres: Postgres, shop: Shop, customer: string, show: string) {
  const idempotency = createPostgresIdempotency({ postgres })
  const request = () => ({ owner: customer, key: randomUUID(), fingerprint: 'f' })
  await idempotency.run(request(), async () => ({ status: 204, body: undefined }))
  const limited: NewOrder = {
    ...{ id: randomUUID(), userId: customer, showId: show, quantity: 1, holdMs: 900_000 },
    ...{ requestId: 'r', traceparent: undefined, isOpen: true, maxPerBuyer: 1000 },
  }
  await idempotency.runStatement(request(), placeOrder(limited, shop.outbox))
  await whyRefused(postgres, { ...limited, maxPerBuyer: 1 })
  await useAccounts(postgres, customer)
  await everyReplicaVerifiesArgon2id(postgres)
  const flags = createPostgresFlags({ declared: Object.values(ticketFlags), postgres, log: shop.log })
  await flags.start()
  await flags.set(ticketFlags.salesOpen.name, true)
  await flags.stop()
  await postgres.transaction((tx) =>
    shop.outbox.add(tx, { type: 'order.charge', aggregate: randomUUID(), payload: {}, requestId: 'r' }),
  )
  await useRelay(postgres, shop)
  await cleanIdempotencyKeys(postgres)
  await cleanOutbox(postgres)
}

async function useRelay(postgres: Postgres, { log }: Shop) {
  let lost = 1
  const missing = async (jobs: { id: string }[]) => jobs.slice(0, lost-- > 0 ? 20 : 0).map(({ id }) => id)
  await republishLost(postgres, { missing }, { signal: new AbortController().signal, deep: true })
  let batches = 0
  const relay = createRelay({
    postgres,
    queue: { add: async () => {}, addAll: async () => void batches++, missing: async () => [] },
    log,
  })
  relay.start()
  while (batches < 3) await new Promise((resolve) => setTimeout(resolve, 20))
  await relay.stop()
  await relay.lag()
}
