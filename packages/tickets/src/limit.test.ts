import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createShop, type Shop } from './test-shop.ts'

let shop: Shop
beforeAll(async () => {
  shop = await createShop(inject('postgresUrl'), { maxPerBuyer: 4 })
})
afterAll(() => shop?.stop())

const refused = { status: 409, body: { code: 'E_TICKET_LIMIT' } }

test('one buyer gets no more than the limit, with twenty orders at once over three replicas', async () => {
  const show = await shop.addShow(100)
  const ana = await shop.addUser()
  const orders = await Promise.all(Array.from({ length: 20 }, (_, i) => shop.order(ana, show.id, { replica: i % 3 })))
  expect(orders.filter(({ status }) => status === 201)).toHaveLength(4)
  for (const order of orders) if (order.status !== 201) expect(order).toMatchObject(refused)
  expect((await shop.send('GET', `/v1/shows/${show.id}`)).body.available).toBe(96)
  expect(await shop.missing(show.id)).toBe(0)
  expect((await shop.order(await shop.addUser(), show.id, { quantity: 4 })).status).toBe(201)
  expect((await shop.order(ana, (await shop.addShow(10)).id, { quantity: 4 })).status).toBe(201)
})

test('a refusal leaves the key free, and cancelled tickets do not count', async () => {
  const show = await shop.addShow(100)
  const ana = await shop.addUser()
  expect(await shop.order(ana, show.id, { quantity: 5 })).toMatchObject(refused)
  const { id } = (await shop.order(ana, show.id, { quantity: 3 })).body
  const answer = await shop.order(ana, show.id, { quantity: 2, key: 'again' })
  expect(answer).toMatchObject({ ...refused, body: { detail: 'this buyer may order 1 more' } })
  await shop.send('DELETE', `/v1/orders/${id}`, { userId: ana })
  expect((await shop.order(ana, show.id, { quantity: 2, key: 'again' })).status).toBe(201)
  expect((await shop.order(ana, show.id, { quantity: 2, key: 'again' })).status).toBe(201) // replayed
  expect((await shop.order(ana, '01990000-0000-7000-8000-00000000ffff', { quantity: 1 })).status).toBe(404)
})
