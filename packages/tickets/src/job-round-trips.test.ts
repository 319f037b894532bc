import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createShop, type Shop } from './test-shop.ts'

// Holds the table of jobs in docs/round-trips.md to what Postgres really gets. When it fails, it prints the table as it should be.
const page = new URL('../../../docs/round-trips.md', import.meta.url)

let shop: Shop
let ana: string
beforeAll(async () => {
  shop = await createShop(inject('postgresUrl'))
  ana = await shop.addUser()
})
afterAll(() => shop?.stop())

test('docs/round-trips.md says what every job costs', async () => {
  const table: string[] = []
  const row = async (type: string, when: string, payload: unknown = {}) => {
    shop.asked.length = 0
    expect(await shop.run(type, payload)).toBeUndefined() // it threw nothing
    const names = shop.asked.map((name) => `\`${name}\``)
    table.push(
      `| job \`${type}\` | ${when} | ${[names.length, ...(names.length > 0 ? [names.join(', ')] : [])].join(': ')} |`,
    )
  }
  const order = async (priceCents = 1000) => {
    const show = await shop.addShow(10, priceCents)
    return { orderId: (await shop.order(ana, show.id)).body.id as string }
  }
  const paid = await order()
  await row('order.charge', 'charged', paid)
  await row('order.charge', 'declined', await order(1013))
  await row('order.charge', 'nothing to charge', paid)
  await row('order.mail', 'sent', paid)
  await row('order.mail', 'nothing to confirm', paid)
  await shop.send('DELETE', `/v1/orders/${paid.orderId}`, { userId: ana })
  await row('order.refund', 'refunded', paid)
  await row('orders.sweep', 'nothing is due')
  const held = await order()
  await shop.age(held.orderId, 'hold_until')
  await row('orders.sweep', 'a hold is over')
  const stuck = await order()
  await shop.age(stuck.orderId, 'touched_at')
  await row('orders.sweep', 'an order is stuck')
  const documented = readFileSync(page, 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('| job `'))
  if (documented.join() !== table.join()) console.log(`The table of docs/round-trips.md:\n\n${table.join('\n')}\n`)
  expect(documented).toEqual(table)
})
