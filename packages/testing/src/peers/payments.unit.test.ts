import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Listening } from './control.ts'
import { type PaymentsControl, paymentsControl, startPayments } from './payments.ts'

let server: Listening
let payments: PaymentsControl

beforeEach(async () => {
  server = await startPayments()
  payments = paymentsControl(server.url)
})
afterEach(() => server.stop())

async function post(path: string, key: string | undefined, body: unknown) {
  const response = await fetch(`${server.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(key ? { 'idempotency-key': key } : {}) },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(1000),
  })
  return { status: response.status, body: (await response.json()) as Record<string, unknown> }
}

const order = { reference: 'order-1', amountCents: 5000, currency: 'EUR' }

test('one key is charged once, and every attempt gets the same answer', async () => {
  const answers = await Promise.all(Array.from({ length: 5 }, () => post('/charges', 'a', order)))
  expect(answers.map((answer) => answer.status)).toEqual([201, 201, 201, 201, 201])
  expect(new Set(answers.map((answer) => answer.body.id)).size).toBe(1)
  const seen = await payments.seen()
  expect(seen.charges).toMatchObject([{ key: 'a', reference: 'order-1', amountCents: 5000, attempts: 5 }])
})

test('a refund has a key of its own, names its charge, and gives back no more than was charged', async () => {
  const { id: charge } = (await post('/charges', 'a', order)).body
  expect((await post('/refunds', 'a', { ...order, charge })).status).toBe(422)
  expect((await post('/refunds', 'b', order)).status).toBe(400)
  expect((await post('/refunds', 'b', { ...order, charge: 'unknown' })).status).toBe(422)
  expect((await post('/refunds', 'b', { ...order, charge, currency: 'BRL' })).status).toBe(422)
  for (let n = 0; n < 2; n++) {
    expect(await post('/refunds', 'b', { ...order, charge })).toMatchObject({
      status: 201,
      body: { status: 'succeeded' },
    })
  }
  expect((await post('/refunds', 'c', { ...order, charge, amountCents: 1 })).status).toBe(422)
  expect((await post('/charges', 'b', order)).status).toBe(422)
  const seen = await payments.seen()
  expect(seen.charges).toHaveLength(1)
  expect(seen.refunds).toMatchObject([{ key: 'b', charge, attempts: 2 }])
})

test('amounts that it refuses get their status each time, and have no effect', async () => {
  await payments.behave({ refusals: { 5000: 422 } })
  expect((await post('/charges', 'a', order)).status).toBe(422)
  expect((await payments.seen()).charges).toEqual([])
})

test('what happened under a key can be asked', async () => {
  await post('/charges', 'a b', order)
  expect((await fetch(`${server.url}/charges/a%20b`)).status).toBe(200)
  expect((await fetch(`${server.url}/charges/b`)).status).toBe(404)
})

test('an amount that ends in 13 cents is declined, each time', async () => {
  const cheap = { ...order, amountCents: 4913 }
  expect(await post('/charges', 'a', cheap)).toMatchObject({ status: 402, body: { status: 'declined' } })
  expect(await post('/charges', 'a', cheap)).toMatchObject({ status: 402, body: { status: 'declined' } })
})

test('a key used for something else is refused, and so is a request without a key or a field', async () => {
  await post('/charges', 'a', order)
  expect((await post('/charges', 'a', { ...order, amountCents: 1 })).status).toBe(422)
  expect((await post('/charges', undefined, order)).status).toBe(400)
  expect((await post('/charges', 'b', { reference: 'x' })).status).toBe(400)
})

test('it fails, declines and loses responses as configured, then behaves', async () => {
  await payments.behave({ failures: 1, declines: 1 })
  expect((await post('/charges', 'a', order)).status).toBe(500)
  expect((await post('/charges', 'a', order)).status).toBe(402)
  expect((await post('/charges', 'b', order)).status).toBe(201)
  await payments.behave({ lostAnswers: 1 })
  await expect(post('/charges', 'c', order)).rejects.toThrow()
  expect((await post('/charges', 'c', order)).status).toBe(201)
  const seen = await payments.seen()
  expect(seen.charges.map((charge) => [charge.key, charge.attempts])).toEqual([
    ['a', 1],
    ['b', 1],
    ['c', 2],
  ])
})

test('while it hangs nothing is charged', async () => {
  await payments.behave({ hang: true })
  await expect(post('/charges', 'a', order)).rejects.toThrow('timeout')
  await payments.behave({})
  expect((await payments.seen()).charges).toEqual([])
})
