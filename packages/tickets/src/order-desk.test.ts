import { createMemoryEvents } from '@escala/kit/events/memory'
import { createPostgresIdempotency } from '@escala/kit/idempotency/postgres'
import { createPostgres } from '@escala/kit/postgres/postgres'
import { startFaultProxy } from '@escala/testing/fault-proxy'
import { v7 } from 'uuid'
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest'
import { createOrderDesk } from './order-desk.ts'
import { createShop, log, type Shop } from './test-shop.ts'

let shop: Shop
let ana: string
let announced: { available: number; revision: number }[]
beforeAll(async () => {
  shop = await createShop(inject('postgresUrl'))
  ana = await shop.addUser()
})
beforeEach(() => {
  announced = []
})
afterAll(() => shop?.stop())

const waiting = new AbortController().signal

/** A replica's desk, which calls `announced`. */
function openDesk(replica = 0, postgres = shop.replicas[replica] ?? shop.postgres) {
  const idempotency = createPostgresIdempotency({ postgres })
  const { publish } = createMemoryEvents()
  return createOrderDesk({
    postgres,
    idempotency,
    outbox: shop.outbox,
    events: {
      ...createMemoryEvents(),
      publish: (channel, event) => {
        announced.push(event.data as (typeof announced)[0])
        return publish(channel, event)
      },
    },
  })
}

function asked(
  showId: string,
  quantity: number,
  { key = v7(), userId = ana, deadline = waiting, fingerprint = 'f', isOpen = (): boolean => true } = {},
) {
  const order = {
    id: v7(),
    userId,
    showId,
    quantity,
    holdMs: 900_000,
    requestId: 'r'.repeat(32),
    traceparent: undefined,
    maxPerBuyer: 0,
  }
  return { request: { owner: userId, key, fingerprint }, order, log, isOpen, deadline }
}

/** Short: what became of each. */
const outcomes = async (placing: Promise<{ replayed: boolean }>[]) =>
  (await Promise.allSettled(placing)).map((one) =>
    one.status === 'fulfilled' ? (one.value.replayed ? 'replayed' : 'placed') : (one.reason.code ?? one.reason.message),
  )

/** What is asked for after it comes while what was asked for before is under way. */
const turn = () => new Promise(setImmediate)

const show = async (id: string) => {
  const { rows } = await shop.postgres.query<{ available: number; revision: number }>(
    'SELECT available, revision FROM shows WHERE id = $1',
    [id],
  )
  return rows[0]
}

test('what arrives while the first is under way goes together: one revision, announced once', async () => {
  const { id } = await shop.addShow(100)
  const before = (await show(id))?.revision ?? 0
  const desk = openDesk()
  const placing = [desk.place(asked(id, 2))]
  await turn()
  for (let more = 0; more < 29; more++) placing.push(desk.place(asked(id, 2)))
  expect(new Set(await outcomes(placing))).toEqual(new Set(['placed']))
  const bodies = (await Promise.all(placing)).map(
    ({ response }) => response.body as { number: number; quantity: number },
  )
  expect(new Set(bodies.map(({ number }) => number)).size).toBe(30)
  expect(await show(id)).toEqual({ available: 40, revision: before + 2 })
  expect(announced).toEqual([
    { available: 98, revision: before + 1 },
    { available: 40, revision: before + 2 },
  ])
  expect(await shop.missing(id)).toBe(0)
})

test('each gets what it would get if they came one after the other', async () => {
  const { id } = await shop.addShow(10)
  const desk = openDesk()
  const placing = [4, 3, 5, 3, 1].map((quantity) => desk.place(asked(id, quantity)))
  expect(await outcomes(placing)).toEqual(['placed', 'placed', 'E_SOLD_OUT', 'placed', 'E_SOLD_OUT'])
  expect((await show(id))?.available).toBe(0)
  expect(await shop.missing(id)).toBe(0)
})

test('an order, its answer and its message are kept one by one', async () => {
  const { id } = await shop.addShow(10)
  const desk = openDesk()
  const all = [1, 2, 3].map((quantity) => asked(id, quantity))
  await Promise.all(all.map((one) => desk.place(one)))
  for (const one of all) {
    const again = await openDesk(1).place({ ...one, order: { ...one.order, id: v7() } })
    expect(again).toMatchObject({
      replayed: true,
      response: { status: 201, body: { id: one.order.id, quantity: one.order.quantity } },
    })
    const { rows } = await shop.postgres.query('SELECT type, request_id FROM outbox WHERE aggregate = $1', [
      one.order.id,
    ])
    expect(rows).toEqual([{ type: 'order.charge', request_id: 'r'.repeat(32) }])
  }
  expect((await show(id))?.available).toBe(4)
})

test('keys that were used, or come twice, concern their own orders only', async () => {
  const { id } = await shop.addShow(10)
  const desk = openDesk()
  await desk.place(asked(id, 1, { key: 'used' }))
  const placing = [
    desk.place(asked(id, 1)),
    desk.place(asked(id, 1, { key: 'used' })),
    desk.place(asked(id, 1, { key: 'used', fingerprint: 'g' })),
    desk.place(asked(id, 1, { key: 'twice' })),
    desk.place(asked(id, 1, { key: 'twice' })),
    desk.place(asked(id, 1)),
  ]
  expect(await outcomes(placing)).toEqual([
    'placed',
    'replayed',
    'E_IDEMPOTENCY_MISMATCH',
    'placed',
    'replayed',
    'placed',
  ])
  expect((await show(id))?.available).toBe(6)
})

test('an order that Postgres refuses fails alone', async () => {
  const { id } = await shop.addShow(10)
  const gone = await shop.addUser()
  await shop.postgres.query('DELETE FROM users WHERE id = $1', [gone])
  const desk = openDesk()
  const placing = [ana, ana, gone, ana].map((userId) => desk.place(asked(id, 1, { userId })))
  const [refused] = (await Promise.allSettled(placing)).flatMap((one) =>
    one.status === 'rejected' ? [one.reason] : [],
  )
  expect(refused).toMatchObject({ code: '23503', constraint: 'orders_user_id_fkey' })
  expect(await show(id)).toMatchObject({ available: 7 })
  expect(await shop.missing(id)).toBe(0)
})

test('an unknown show and a sold-out one have different errors', async () => {
  const desk = openDesk()
  const nowhere = v7()
  expect(await outcomes([1, 1, 1].map(() => desk.place(asked(nowhere, 1))))).toEqual(Array(3).fill('E_NOT_FOUND'))
  const { id } = await shop.addShow(1)
  expect(await outcomes([2, 2, 2].map((quantity) => desk.place(asked(id, quantity))))).toEqual(
    Array(3).fill('E_SOLD_OUT'),
  )
  expect(announced).toEqual([])
})

test('an order whose client has gone meanwhile is not placed', async () => {
  const { id } = await shop.addShow(10)
  const client = new AbortController()
  const desk = openDesk()
  const placing = [
    desk.place(asked(id, 1)),
    desk.place(asked(id, 1, { deadline: client.signal })),
    desk.place(asked(id, 1)),
  ]
  client.abort(new Error('gone'))
  expect(await outcomes(placing)).toEqual(['placed', 'gone', 'placed'])
  expect((await show(id))?.available).toBe(8)
})

test('200 orders of 1 to 4 tickets on three replicas: exact, and no order waits for another one', async () => {
  const { id } = await shop.addShow(300)
  const desks = [0, 1, 2].map((replica) => openDesk(replica))
  const quantities = Array.from({ length: 200 }, (_, at) => 1 + ((at * 7) % 4))
  const placing = quantities.map((quantity, at) => (desks[at % 3] as (typeof desks)[0]).place(asked(id, quantity)))
  const results = await outcomes(placing)
  const sold = results.reduce((sum, result, at) => sum + (result === 'placed' ? (quantities[at] ?? 0) : 0), 0)
  expect(new Set(results)).toEqual(new Set(['placed', 'E_SOLD_OUT']))
  expect((await show(id))?.available).toBe(300 - sold)
  expect(300 - sold).toBe(0)
  expect(await shop.missing(id)).toBe(0)
  const revisions = announced.map(({ revision }) => revision).sort((a, b) => a - b)
  expect(new Set(revisions).size).toBe(revisions.length)
})

test('sales that close while an order waits are closed for it', async () => {
  const { id } = await shop.addShow(10)
  const desk = openDesk()
  let open = true
  const one = () => desk.place(asked(id, 1, { isOpen: () => open }))
  const placing = [one()]
  await turn()
  placing.push(one(), one())
  open = false
  expect(await outcomes(placing)).toEqual(['placed', 'E_SALES_CLOSED', 'E_SALES_CLOSED'])
  expect((await show(id))?.available).toBe(9)
})

test('orders that wait behind one that is too large do not take every connection', async () => {
  const { id } = await shop.addShow(9)
  const desk = openDesk()
  const placing = [1, 10, ...Array.from({ length: 60 }, () => 1)].map((quantity) => desk.place(asked(id, quantity)))
  const most = { used: 0 }
  const watch = setInterval(() => {
    const { total, idle } = shop.replicas[0].stats()
    most.used = Math.max(most.used, total - idle)
  }, 1)
  const results = await outcomes(placing)
  clearInterval(watch)
  expect(results.filter((result) => result === 'placed')).toHaveLength(9)
  expect(results[1]).toBe('E_SOLD_OUT')
  expect(most.used).toBeLessThanOrEqual(3)
  expect(await shop.missing(id)).toBe(0)
})

/** A desk whose way to Postgres can break. */
async function openFragileDesk(timeoutMs: number) {
  const proxy = await startFaultProxy({ target: shop.databaseUrl })
  const postgres = createPostgres({ url: proxy.url, log, applicationName: 'fragile', maxConnections: 4, timeoutMs })
  const stop = () => Promise.all([postgres.stop(), proxy.stop()])
  return { proxy, desk: openDesk(0, postgres), stop }
}

test('a batch whose answer is lost is in doubt: under its keys, each order is there once', async () => {
  const { id } = await shop.addShow(100)
  const { proxy, desk, stop } = await openFragileDesk(2000)
  const all = Array.from({ length: 40 }, (_, at) => asked(id, 1 + (at % 3)))
  await desk.place(asked(id, 1)) // connects
  proxy.delay(20)
  const [first, ...others] = all as [(typeof all)[0]]
  const placing = [desk.place(first)]
  await turn()
  for (const one of others) placing.push(desk.place(one))
  await placing[0]
  proxy.dropNextReply()
  expect(await outcomes(placing.slice(1))).toEqual(Array(39).fill('E_POSTGRES_UNAVAILABLE'))
  await stop()
  const again = await outcomes(all.map((one) => openDesk(1).place({ ...one, order: { ...one.order, id: v7() } })))
  expect(again).toEqual(Array(40).fill('replayed'))
  const tickets = all.reduce((sum, { order }) => sum + order.quantity, 1)
  expect((await show(id))?.available).toBe(100 - tickets)
  expect(await shop.missing(id)).toBe(0)
})

test('while the server does not answer, an order that waits for another one waits no longer than that one', async () => {
  const { id } = await shop.addShow(100)
  const { proxy, desk, stop } = await openFragileDesk(500)
  await desk.place(asked(id, 1)) // connects
  proxy.hang()
  const first = desk.place(asked(id, 1)).catch((error) => error)
  await turn()
  const others = Promise.allSettled(Array.from({ length: 60 }, () => desk.place(asked(id, 1))))
  let isOver = false
  void others.then(() => {
    isOver = true
  })
  expect(await first).toMatchObject({ code: 'E_POSTGRES_UNAVAILABLE' })
  await new Promise(setImmediate)
  expect(isOver).toBe(true)
  for (const one of await others) expect(one).toMatchObject({ reason: { code: 'E_POSTGRES_UNAVAILABLE' } })
  await proxy.heal()
  expect(await outcomes([desk.place(asked(id, 1))])).toEqual(['placed'])
  await stop()
})

test('an order that was refused because sales were closed says so, also when they open before it is answered', async () => {
  const { id } = await shop.addShow(10)
  const answers = [false, true]
  const isOpen = () => answers.shift() ?? true
  expect(await outcomes([openDesk().place(asked(id, 1, { isOpen }))])).toEqual(['E_SALES_CLOSED'])
})
