import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createShop, type Shop } from './test-shop.ts'

let shop: Shop
beforeAll(async () => {
  shop = await createShop(inject('postgresUrl'))
})
afterAll(() => shop?.stop())

test('the report counts what was paid on a day, once however often it is made, less what was cancelled', async () => {
  const ana = await shop.addUser()
  const organiser = await shop.addUser('organiser')
  const show = await shop.addShow(10, 1500)
  const ids: string[] = []
  for (const quantity of [1, 2, 3]) ids.push((await shop.order(ana, show.id, { quantity })).body.id)
  await shop.work()
  for (const id of ids.slice(0, 2)) await shop.age(id, 'paid_at') // the third was paid today, which is not over
  const read = async () => (await shop.send('GET', '/v1/reports/sales', { userId: organiser })).body

  await shop.run('reports.sales')
  await shop.run('reports.sales')
  const { items, nextCursor } = await read()
  expect(nextCursor).toBeNull()
  expect(items).toMatchObject([{ showId: show.id, showName: 'Gig', orders: 2, tickets: 3, totalCents: 4500 }])

  await shop.send('DELETE', `/v1/orders/${ids[0]}`, { userId: ana })
  await shop.run('reports.sales')
  expect((await read()).items).toMatchObject([{ orders: 1, tickets: 2, totalCents: 3000 }])
  await shop.send('DELETE', `/v1/orders/${ids[1]}`, { userId: ana })
  await shop.run('reports.sales')
  expect((await read()).items).toMatchObject([{ orders: 0, tickets: 0, totalCents: 0 }])

  expect(await shop.send('GET', '/v1/reports/sales', { userId: ana })).toMatchObject({ status: 403 })
  expect(await shop.send('GET', '/v1/reports/sales?limit=1&cursor=x', { userId: organiser })).toMatchObject({
    status: 400,
  })
})

test('the report may take longer than a request', async () => {
  await shop.postgres.query(`CREATE FUNCTION dawdle() RETURNS trigger AS $$
    BEGIN PERFORM pg_sleep(2.5); RETURN NULL; END $$ LANGUAGE plpgsql`)
  await shop.postgres.query('CREATE TRIGGER dawdle AFTER INSERT ON sales_reports EXECUTE FUNCTION dawdle()')
  expect(await shop.run('reports.sales')).toBeUndefined() // it threw nothing
  await shop.postgres.query('DROP FUNCTION dawdle CASCADE')
})
