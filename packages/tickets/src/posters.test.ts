import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createShop, type Shop } from './test-shop.ts'

let shop: Shop
let organiser: string
let customer: string
let path: string
beforeAll(async () => {
  shop = await createShop(inject('postgresUrl'))
  organiser = await shop.addUser('organiser')
  customer = await shop.addUser()
  path = `/v1/shows/${(await shop.addShow(10)).id}/poster`
})
afterAll(() => shop?.stop())

const nowhere = '/v1/shows/01990000-0000-7000-8000-00000000ffff/poster'
const png = (bytes: number) => Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), randomBytes(bytes - 8)])
const put = (body: NonNullable<RequestInit['body']>, { type = 'image/png', userId = organiser, to = path } = {}) =>
  fetch(shop.url(to), {
    method: 'PUT',
    body,
    headers: { 'content-type': type, 'test-user': userId },
    ...({ duplex: 'half' } as object),
  })

test('a poster put up on one replica is seen on the others', async () => {
  const image = png(300_000)
  const stored = await put(image)
  expect([stored.status, await stored.json()]).toEqual([200, { contentType: 'image/png' }])
  for (const replica of [0, 1, 2]) {
    const answer = await fetch(shop.url(path, replica))
    expect(answer.headers.get('content-type')).toBe('image/png')
    expect(answer.headers.get('content-security-policy')).toContain('sandbox')
    expect(Buffer.from(await answer.arrayBuffer())).toEqual(image)
    const tag = answer.headers.get('etag') as string
    expect((await fetch(shop.url(path), { headers: { 'if-none-match': tag } })).status).toBe(304)
  }
})

test('2 MiB are taken, one byte more is refused, with and without a length', async () => {
  const most = 2 * 1024 * 1024
  expect((await put(png(most))).status).toBe(200)
  const tooMuch = png(most + 1)
  expect((await put(tooMuch, { to: nowhere })).status).toBe(413) // before the show is read
  for (const body of [tooMuch, new Blob([tooMuch]).stream()]) {
    const answer = await put(body)
    expect([answer.status, ((await answer.json()) as { code: string }).code]).toEqual([413, 'E_BODY_TOO_LARGE'])
  }
})

test('a page, a lie and a stranger are refused', async () => {
  expect((await put('<script>alert(1)</script>')).status).toBe(415)
  expect((await put(png(100), { type: 'image/gif' })).status).toBe(415)
  expect((await put(png(100), { userId: customer })).status).toBe(403)
  expect((await put(png(100), { to: nowhere })).status).toBe(404)
  expect((await fetch(shop.url(nowhere))).status).toBe(404)
})

test('an id in capitals is the same show: one poster, one price, one idempotency key', async () => {
  const show = await shop.addShow(10)
  const capitals = `/v1/shows/${show.id.toUpperCase()}`
  const first = png(1000)
  expect((await put(first, { to: `${capitals}/poster` })).status).toBe(200)
  const stored = await fetch(shop.url(`/v1/shows/${show.id}/poster`))
  expect(Buffer.from(await stored.arrayBuffer())).toEqual(first)
  const key = 'one-key'
  const placed = await shop.order(customer, show.id, { key })
  const repeated = await shop.order(customer, show.id.toUpperCase(), { key })
  expect([repeated.status, repeated.body.id]).toEqual([201, placed.body.id])
  expect((await shop.send('GET', capitals)).body).toMatchObject({ id: show.id, available: 9 })
})

test('closed sales sell nothing, and a repeated order is still answered', async () => {
  const show = await shop.addShow(10)
  const key = 'before-the-end'
  expect((await shop.order(customer, show.id, { key })).status).toBe(201)
  await shop.flags.set('salesOpen', false)
  expect(await shop.order(customer, show.id)).toMatchObject({ status: 409, body: { code: 'E_SALES_CLOSED' } })
  expect((await shop.order(customer, show.id, { key })).status).toBe(201)
  await shop.flags.set('salesOpen', true)
  expect((await shop.order(customer, show.id)).status).toBe(201)
})
