import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createShop, type Shop } from './test-shop.ts'

let shop: Shop
let ana: string
let bob: string
beforeAll(async () => {
  shop = await createShop(inject('postgresUrl'))
  ana = await shop.addUser()
  bob = await shop.addUser()
})
afterAll(() => shop?.stop())

const outboxOf = async (orderId: string) => {
  const { rows } = await shop.postgres.query<{ type: string }>('SELECT type FROM outbox WHERE aggregate = $1', [
    orderId,
  ])
  return rows.map(({ type }) => type)
}

test('an order holds tickets, and its charge is on its way', async () => {
  const show = await shop.addShow(10, 1500)
  const placed = await shop.order(ana, show.id, { quantity: 3 })
  expect(placed.status).toBe(201)
  const { id, number } = placed.body
  expect(placed.body).toEqual({ id, number, status: 'pending', quantity: 3, totalCents: 4500 })
  expect(number).toBeGreaterThan(1000)
  expect((await shop.send('GET', `/v1/shows/${show.id}`)).body.available).toBe(7)
  const order = { ...placed.body, showId: show.id }
  expect(await shop.send('GET', `/v1/orders/${id}`, { userId: ana })).toMatchObject({ status: 200, body: order })
  expect(await outboxOf(id)).toEqual(['order.charge'])
})

test('the same key again, bare or quoted and on another replica, is the same order', async () => {
  const show = await shop.addShow(10)
  const first = await shop.order(ana, show.id, { key: 'k-1' })
  expect(first.headers.get('idempotency-replayed')).toBeNull()
  const again = await shop.order(ana, show.id, { key: '"k-1"', replica: 1 })
  expect(again).toMatchObject({ status: 201, body: first.body })
  expect(again.headers.get('idempotency-replayed')).toBe('true')
  expect(await shop.order(ana, show.id, { key: 'k-1', quantity: 2 })).toMatchObject({
    status: 422,
    body: { code: 'E_IDEMPOTENCY_MISMATCH' },
  })
  const bobs = await shop.order(bob, show.id, { key: 'k-1' })
  expect(bobs.status).toBe(201)
  expect(bobs.body.id).not.toBe(first.body.id)
})

test('a user who was deleted is not logged in', async () => {
  const show = await shop.addShow(1)
  const gone = await shop.addUser()
  await shop.postgres.query('DELETE FROM users WHERE id = $1', [gone])
  const notLoggedIn = { status: 401, body: { code: 'E_NOT_LOGGED_IN' } }
  expect(await shop.order(gone, show.id)).toMatchObject(notLoggedIn)
  expect(await shop.send('GET', '/v1/orders', { userId: gone })).toMatchObject(notLoggedIn)
  expect(await shop.missing(show.id)).toBe(0)
  expect((await shop.order(ana, show.id)).status).toBe(201)
})

test('a key is required', async () => {
  const show = await shop.addShow(1)
  const answer = await shop.send('POST', `/v1/shows/${show.id}/orders`, { userId: ana, body: { quantity: 1 } })
  expect(answer).toMatchObject({ status: 400, body: { code: 'E_IDEMPOTENCY_KEY_MISSING' } })
})

test('sold out leaves the key free, and nothing behind', async () => {
  const show = await shop.addShow(1)
  const sold = await shop.order(ana, show.id)
  expect(await shop.order(bob, show.id, { key: 'k-2' })).toMatchObject({ status: 409, body: { code: 'E_SOLD_OUT' } })
  await shop.send('DELETE', `/v1/orders/${sold.body.id}`, { userId: ana })
  const later = await shop.order(bob, show.id, { key: 'k-2' })
  expect(later.status).toBe(201)
  expect(later.headers.get('idempotency-replayed')).toBeNull()
  expect(await shop.missing(show.id)).toBe(0)
})

test('an unknown show is 404', async () => {
  const answer = await shop.order(ana, '01990000-0000-7000-8000-00000000ffff')
  expect(answer).toMatchObject({ status: 404, body: { code: 'E_NOT_FOUND' } })
})

test.each([{ quantity: 0 }, { quantity: 1.5 }, { quantity: '1' }, { quantity: 101 }, {}, { quantity: 1, price: 0 }])(
  'the order %o is refused',
  async (body) => {
    const show = await shop.addShow(1)
    const headers = { 'idempotency-key': 'k-3' }
    const answer = await shop.send('POST', `/v1/shows/${show.id}/orders`, { userId: ana, headers, body })
    expect(answer).toMatchObject({ status: 400, body: { code: 'E_VALIDATION' } })
  },
)

test('60 buyers over three replicas get exactly the 10 tickets that there are', async () => {
  const show = await shop.addShow(10)
  const orders = await Promise.all(Array.from({ length: 60 }, (_, at) => shop.order(ana, show.id, { replica: at % 3 })))
  expect(orders.filter(({ status }) => status === 201)).toHaveLength(10)
  expect(orders.filter(({ body }) => body.code === 'E_SOLD_OUT')).toHaveLength(50)
  expect(await shop.missing(show.id)).toBe(0)
  expect(new Set(orders.flatMap(({ body }) => body.number ?? [])).size).toBe(10)
})

test('of 20 copies of one request at once, one is an order', async () => {
  const show = await shop.addShow(20)
  const copies = Array.from({ length: 20 }, (_, at) => shop.order(ana, show.id, { key: 'k-4', replica: at % 3 }))
  const answers = await Promise.all(copies)
  const ids = new Set(answers.flatMap(({ body }) => body.id ?? []))
  expect(ids.size).toBe(1)
  expect(answers.every(({ status, body }) => status === 201 || body.code === 'E_IDEMPOTENCY_IN_PROGRESS')).toBe(true)
  expect((await shop.send('GET', `/v1/shows/${show.id}`)).body.available).toBe(19)
})

test("others' orders are not found, listed or cancelled", async () => {
  const show = await shop.addShow(5)
  const { id } = (await shop.order(ana, show.id)).body
  const notFound = { status: 404, body: { code: 'E_NOT_FOUND' } }
  expect(await shop.send('GET', `/v1/orders/${id}`, { userId: bob })).toMatchObject(notFound)
  expect(await shop.send('DELETE', `/v1/orders/${id}`, { userId: bob })).toMatchObject(notFound)
  const listed = (await shop.send('GET', '/v1/orders?limit=100', { userId: bob })).body.items
  expect(listed.map((order: { id: string }) => order.id)).not.toContain(id)
  expect(await shop.statusOf(id)).toBe('pending')
  for (const [method, path] of [
    ['GET', '/v1/orders'],
    ['GET', `/v1/orders/${id}`],
    ['DELETE', `/v1/orders/${id}`],
    ['POST', `/v1/shows/${show.id}/orders`],
  ] as const) {
    const body = method === 'POST' ? { quantity: 1 } : undefined
    expect(await shop.send(method, path, { body })).toMatchObject({ status: 401, body: { code: 'E_NOT_LOGGED_IN' } })
  }
})

test('own orders come the newest first, page by page', async () => {
  const eva = await shop.addUser()
  const show = await shop.addShow(9)
  const numbers: number[] = []
  for (let at = 0; at < 5; at++) numbers.unshift((await shop.order(eva, show.id)).body.number)
  const seen: number[] = []
  for (let cursor: string | null = ''; cursor !== null; ) {
    const page = await shop.send('GET', `/v1/orders?limit=2${cursor && `&cursor=${cursor}`}`, { userId: eva })
    seen.push(...page.body.items.map((order: { number: number }) => order.number))
    cursor = page.body.nextCursor
  }
  expect(seen).toEqual(numbers)
})

test('cancelling gives the tickets back once, however often it is asked for', async () => {
  const show = await shop.addShow(5)
  const { id } = (await shop.order(ana, show.id, { quantity: 2 })).body
  const cancels = Array.from({ length: 12 }, (_, at) =>
    shop.send('DELETE', `/v1/orders/${id}`, { userId: ana, replica: at % 3 }),
  )
  for (const { status, body } of await Promise.all(cancels)) {
    expect([status, body.status]).toEqual([200, 'cancelled'])
  }
  expect((await shop.send('GET', `/v1/shows/${show.id}`)).body.available).toBe(5)
})

test('while the charge has no known outcome, an order cannot be cancelled', async () => {
  const show = await shop.addShow(5)
  const { id } = (await shop.order(ana, show.id)).body
  await shop.payments.behave({ failures: 1 })
  await shop.run('order.charge', { orderId: id })
  const busy = await shop.send('DELETE', `/v1/orders/${id}`, { userId: ana })
  expect(busy).toMatchObject({ status: 409, body: { code: 'E_ORDER_BUSY' } })
  expect(busy.headers.get('retry-after')).toBe('2')
})
