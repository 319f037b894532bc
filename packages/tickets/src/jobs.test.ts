import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { createBreakers } from '@escala/kit/breaker/cockatiel'
import { PermanentFailure } from '@escala/kit/jobs/jobs'
import { createMailCheck, createSmtpMailer, isMailServersFailure } from '@escala/kit/mail/smtp'
import { afterAll, beforeAll, beforeEach, expect, inject, test, vi } from 'vitest'
import { createPayments, createPaymentsCheck, isProvidersFailure } from './payments.ts'
import { createShop, log, type Shop } from './test-shop.ts'
import { expireSome, reemitSome } from './transitions.ts'

let shop: Shop
let ana: string
beforeAll(async () => {
  shop = await createShop(inject('postgresUrl'))
  ana = await shop.addUser()
})
afterAll(() => shop?.stop())
beforeEach(async () => {
  shop.breaker.open = false
  shop.dead.clear()
  await Promise.all([shop.payments.behave({}), shop.mail.behave({})])
})

const chargesOf = async (orderId: string) => (await shop.payments.seen()).charges.filter(({ key }) => key === orderId)
/** The refunds of the order's charge. */
const refundsOf = async (orderId: string) => {
  const { charges, refunds } = await shop.payments.seen()
  return refunds.filter(({ charge }) => charges.some(({ id, key }) => key === orderId && id === charge))
}
const mailsOf = async (orderId: string) =>
  (await shop.mail.mails()).filter(({ messageId }) => messageId === `<${orderId}@example.com>`)
const cancel = (orderId: string, replica = 0) => shop.send('DELETE', `/v1/orders/${orderId}`, { userId: ana, replica })
const availableOf = async (showId: string) => (await shop.send('GET', `/v1/shows/${showId}`)).body.available

async function order({ priceCents = 1000, quantity = 1, capacity = 10 } = {}) {
  const show = await shop.addShow(capacity, priceCents)
  const { id, number } = (await shop.order(ana, show.id, { quantity })).body
  return { id, number, showId: show.id }
}

test('an order is charged once under its id, mailed, and confirmed', async () => {
  const { id, number } = await order({ quantity: 2, priceCents: 1500 })
  await shop.work()
  expect(await shop.statusOf(id)).toBe('confirmed')
  expect(await chargesOf(id)).toMatchObject([
    { reference: String(number), amountCents: 3000, currency: 'EUR', status: 'succeeded', attempts: 1 },
  ])
  const [mail, ...others] = await mailsOf(id)
  expect(others).toEqual([])
  expect(mail).toMatchObject({ to: [`${ana}@example.com`], count: 1 })
  expect(mail?.headers['x-request-id']).toMatch(/^[\w-]{36}$/)
})

test("the mail carries no text that its user chose: the address may be a stranger's", async () => {
  const { id, number } = await order()
  await shop.work()
  const [mail] = await mailsOf(id)
  expect(mail?.text).toContain(`Your order ${number} is confirmed: 1 `)
  expect(JSON.stringify(mail)).not.toMatch(/Ana|Buyer/)
})

test('the mail for a user who was deleted ends cleanly', async () => {
  const show = await shop.addShow(1)
  const user = await shop.addUser()
  const { id } = (await shop.order(user, show.id)).body
  await shop.run('order.charge', { orderId: id })
  await shop.postgres.query('ALTER TABLE orders DROP CONSTRAINT orders_user_id_fkey')
  await shop.postgres.query('DELETE FROM users WHERE id = $1', [user])
  expect(await shop.run('order.mail', { orderId: id })).toBeUndefined()
  expect(await shop.statusOf(id)).toBe('confirmed')
  expect(await mailsOf(id)).toEqual([])
})

test('jobs that run again and at once charge once', async () => {
  const { id } = await order()
  await Promise.all(Array.from({ length: 5 }, () => shop.run('order.charge', { orderId: id })))
  await shop.work()
  expect(await shop.statusOf(id)).toBe('confirmed')
  expect(await chargesOf(id)).toHaveLength(1)
  await shop.run('order.charge', { orderId: id })
  await shop.run('order.mail', { orderId: id })
  expect(await shop.statusOf(id)).toBe('confirmed')
  expect(await mailsOf(id)).toMatchObject([{ count: 1 }])
})

test('a declined order fails and gives its tickets back once', async () => {
  const { id, showId } = await order({ priceCents: 1013, quantity: 1 })
  await Promise.all(Array.from({ length: 4 }, () => shop.run('order.charge', { orderId: id })))
  expect(await shop.statusOf(id)).toBe('failed')
  expect(await availableOf(showId)).toBe(10)
  expect(await cancel(id)).toMatchObject({ status: 200, body: { status: 'failed' } })
  expect(await availableOf(showId)).toBe(10)
})

test.each([
  ['an error', { failures: 1 }],
  ['a lost answer', { lostAnswers: 1 }],
  ['no answer in time', { hang: true }],
])('after %s the order waits for another try, keeps its tickets, and is charged once', async (_, behaviour) => {
  const { id, showId } = await order()
  await shop.payments.behave(behaviour)
  expect(await shop.run('order.charge', { orderId: id })).toBeInstanceOf(Error)
  expect(await shop.statusOf(id)).toBe('charging')
  await shop.age(id, 'hold_until')
  await shop.run('orders.sweep')
  expect(await shop.statusOf(id)).toBe('charging')
  expect(await availableOf(showId)).toBe(9)
  await shop.payments.behave({})
  await shop.run('order.charge', { orderId: id })
  expect(await shop.statusOf(id)).toBe('paid')
  expect(await chargesOf(id)).toHaveLength(1)
})

test('an order that is held back stays pending: it is worked on, can be cancelled, and is not charged then', async () => {
  const { id, showId } = await order()
  const other = await order()
  await shop.age(id, 'touched_at')
  shop.breaker.open = true
  for (const orderId of [id, other.id]) {
    expect(await shop.run('order.charge', { orderId })).toMatchObject({ code: 'E_PEER_UNAVAILABLE' })
    expect(await shop.statusOf(orderId)).toBe('pending')
  }
  await shop.postgres.query('DELETE FROM outbox')
  await shop.run('orders.sweep')
  expect((await shop.postgres.query('SELECT FROM outbox')).rowCount).toBe(0)
  expect(await cancel(id)).toMatchObject({ status: 200, body: { status: 'cancelled' } })
  shop.breaker.open = false
  for (const orderId of [id, other.id]) expect(await shop.run('order.charge', { orderId })).toBeUndefined()
  expect(await shop.statusOf(other.id)).toBe('paid')
  expect(await chargesOf(id)).toEqual([])
  expect(await availableOf(showId)).toBe(10)
})

test('an order that was sent once stays charging while it is held back', async () => {
  const { id } = await order()
  await shop.payments.behave({ hang: true })
  await shop.run('order.charge', { orderId: id })
  shop.breaker.open = true
  await shop.run('order.charge', { orderId: id })
  expect(await shop.statusOf(id)).toBe('charging')
  expect(await cancel(id)).toMatchObject({ status: 409, body: { code: 'E_ORDER_BUSY' } })
})

test('a mail that is not taken leaves the order paid, for another try with the same Message-ID', async () => {
  const { id } = await order()
  await shop.run('order.charge', { orderId: id })
  await shop.mail.behave({ failures: 1 })
  expect(await shop.run('order.mail', { orderId: id })).toBeInstanceOf(Error)
  expect(await shop.statusOf(id)).toBe('paid')
  await shop.run('order.mail', { orderId: id })
  expect(await shop.statusOf(id)).toBe('confirmed')
  expect(await mailsOf(id)).toMatchObject([{ count: 1 }])
})

test('while mails are held back the order is worked on: the sweep adds no second job for it', async () => {
  const { id } = await order()
  await shop.run('order.charge', { orderId: id })
  await shop.age(id, 'touched_at')
  await shop.postgres.query('DELETE FROM outbox')
  shop.breaker.open = true
  expect(await shop.run('order.mail', { orderId: id })).toMatchObject({ code: 'E_PEER_UNAVAILABLE' })
  await shop.run('orders.sweep')
  const again = await shop.postgres.query('SELECT FROM outbox WHERE aggregate = $1', [id])
  expect(again.rowCount).toBe(0)
  shop.breaker.open = false
  await shop.run('order.mail', { orderId: id })
  expect(await shop.statusOf(id)).toBe('confirmed')
})

test('a mail server that refuses one address is not in trouble; one that refuses for now is', () => {
  const refusal = (code: string, responseCode?: number) => Object.assign(new Error('no'), { code, responseCode })
  expect(isMailServersFailure(refusal('EENVELOPE', 550))).toBe(false)
  expect(isMailServersFailure(refusal('EMESSAGE', 554))).toBe(false)
  expect(isMailServersFailure(refusal('EMESSAGE', 451))).toBe(true)
  expect(isMailServersFailure(refusal('EAUTH', 535))).toBe(true)
  expect(isMailServersFailure(refusal('ECONNECTION'))).toBe(true)
})

test('a paid order that is cancelled gives its tickets back at once and its money through the worker', async () => {
  const { id, showId } = await order({ quantity: 3 })
  await shop.work()
  const cancels = await Promise.all([cancel(id, 0), cancel(id, 1), cancel(id, 2)])
  expect(cancels.map(({ body }) => body.status)).toEqual(['refunding', 'refunding', 'refunding'])
  expect(await availableOf(showId)).toBe(10)
  await shop.work()
  expect(await shop.statusOf(id)).toBe('cancelled')
  const refunds = await refundsOf(id)
  expect(refunds).toMatchObject([{ amountCents: 3000, attempts: 1 }])
  expect(refunds[0]?.key).not.toBe(id)
  expect(await cancel(id)).toMatchObject({ status: 200, body: { status: 'cancelled' } })
  expect(await availableOf(showId)).toBe(10)
})

test('a hold that ran out gives the tickets back, and is not charged any more', async () => {
  const { id, showId } = await order({ quantity: 2 })
  await shop.age(id, 'hold_until')
  await Promise.all(Array.from({ length: 4 }, () => shop.run('orders.sweep')))
  expect(await shop.statusOf(id)).toBe('expired')
  expect(await availableOf(showId)).toBe(10)
  await shop.run('order.charge', { orderId: id })
  expect(await chargesOf(id)).toEqual([])
})

test('whichever comes first: a hold that runs out, a charge and a cancellation at once give back each ticket once', async () => {
  const show = await shop.addShow(100)
  const orders = await Promise.all(Array.from({ length: 30 }, () => shop.order(ana, show.id, { quantity: 2 })))
  const ids = orders.map(({ body }) => body.id as string)
  await shop.postgres.query(`UPDATE orders SET hold_until = now() - interval '1 s' WHERE show_id = $1`, [show.id])
  await Promise.all([
    ...ids.map((id) => shop.run('order.charge', { orderId: id })),
    ...shop.replicas.map((replica) => expireSome(replica, 20)),
    ...ids.map((id, at) => cancel(id, at % 3)),
    ...ids.map((id) => shop.run('order.charge', { orderId: id })),
    ...shop.replicas.map((replica) => expireSome(replica, 20)),
    ...ids.map((id, at) => cancel(id, at % 3)),
  ])
  expect(await shop.missing(show.id)).toBe(0)
  await shop.work()
  expect(await shop.missing(show.id)).toBe(0)
  for (const id of ids) {
    const status = await shop.statusOf(id)
    expect(['confirmed', 'cancelled', 'expired']).toContain(status)
    const [charged, refunded] = [(await chargesOf(id)).length, (await refundsOf(id)).length]
    expect(charged - refunded, status).toBe(status === 'confirmed' ? 1 : 0)
  }
})

test('sweeps over many shows at once do not wait for each other', async () => {
  const shows = await Promise.all(Array.from({ length: 8 }, () => shop.addShow(50)))
  await Promise.all(shows.flatMap(({ id }, at) => [1, 2, 3].map(() => shop.order(ana, id, { replica: at % 3 }))))
  await shop.postgres.query(`UPDATE orders SET hold_until = now() - interval '1 s' WHERE status = 'pending'`)
  const sweeps = Array.from({ length: 9 }, (_, at) => expireSome(shop.replicas[at % 3] as Shop['postgres'], 7))
  await Promise.all(sweeps)
  await shop.run('orders.sweep')
  for (const { id } of shows) expect(await availableOf(id)).toBe(50)
})

test('the sweep emits the work of orders that stand still, whatever the state, and of no others', async () => {
  const waiting = await order()
  const charging = await order()
  const paid = await order()
  const refunding = await order()
  const fresh = await order()
  await shop.payments.behave({ failures: 1 })
  await shop.run('order.charge', { orderId: charging.id })
  await shop.run('order.charge', { orderId: paid.id })
  await shop.run('order.charge', { orderId: refunding.id })
  await cancel(refunding.id)
  await shop.postgres.query('DELETE FROM outbox') // Redis lost everything that had been published
  const stuck = [waiting, charging, paid, refunding]
  for (const { id } of stuck) await shop.age(id, 'touched_at')
  await Promise.all([shop.run('orders.sweep'), shop.run('orders.sweep')])
  const { rows } = await shop.postgres.query<{ type: string; aggregate: string; request_id: string }>(
    'SELECT type, aggregate, request_id FROM outbox ORDER BY type, aggregate',
  )
  const types = Object.fromEntries(rows.map(({ aggregate, type }) => [aggregate, type]))
  expect(rows).toHaveLength(4)
  expect(types).toEqual({
    [waiting.id]: 'order.charge',
    [charging.id]: 'order.charge',
    [paid.id]: 'order.mail',
    [refunding.id]: 'order.refund',
  })
  await shop.work()
  expect(await Promise.all(stuck.map(({ id }) => shop.statusOf(id)))).toEqual([
    'confirmed',
    'confirmed',
    'confirmed',
    'cancelled',
  ])
  expect(await shop.statusOf(fresh.id)).toBe('pending')
})

/** What a failover does that loses the last commits, or an operator: the order is as it is given, whatever was done. */
const rewind = (orderId: string, status: string) =>
  shop.postgres.query('UPDATE orders SET status = $2, charge_id = NULL, paid_at = NULL WHERE id = $1', [
    orderId,
    status,
  ])

test.each(['cancelled', 'expired', 'failed', 'gone'])(
  'a charge that succeeds for an order that is %s by then is refunded, once',
  async (state) => {
    const { id } = await order({ quantity: 2 })
    await shop.payments.behave({ latencyMs: 150 })
    const charging = Promise.all([1, 2].map(() => shop.run('order.charge', { orderId: id })))
    await vi.waitFor(async () => expect(await chargesOf(id)).toHaveLength(1))
    if (state === 'gone') await shop.postgres.query('DELETE FROM orders WHERE id = $1', [id])
    else await rewind(id, state)
    expect(await charging).toEqual([undefined, undefined])
    expect(await refundsOf(id)).toMatchObject([{ amountCents: 2000, currency: 'EUR', status: 'succeeded' }])
    expect(await shop.statusOf(id)).toBe(state === 'gone' ? undefined : state)
    await shop.work()
    expect(await mailsOf(id)).toEqual([])
  },
)

test('a charge whose result was lost with its order is found by the next run, and refunded', async () => {
  const orders = [await order(), await order()]
  for (const { id } of orders) await shop.run('order.charge', { orderId: id })
  const [cancelled, gone] = orders.map(({ id }) => id) as [string, string]
  await rewind(cancelled, 'cancelled')
  await shop.postgres.query('DELETE FROM orders WHERE id = $1', [gone])
  await shop.run('order.charge', { orderId: cancelled, again: true }) // by the sweep
  await shop.run('order.charge', { orderId: gone }, { isFirstTry: false })
  for (const id of [cancelled, gone]) expect(await refundsOf(id)).toHaveLength(1)
  await shop.run('order.charge', { orderId: cancelled, again: true })
  expect(await refundsOf(cancelled)).toMatchObject([{ attempts: 1 }])
})

test('a charge whose steps were lost pays the order, as long as its tickets are held', async () => {
  for (const [holdIsOver, part] of [
    [false, {}],
    [true, { isFirstTry: false }],
  ] as const) {
    const { id } = await order()
    await shop.run('order.charge', { orderId: id })
    await rewind(id, 'pending')
    if (holdIsOver) await shop.age(id, 'hold_until')
    await shop.run('order.charge', { orderId: id }, part)
    expect(await shop.statusOf(id)).toBe('paid')
    expect(await chargesOf(id)).toHaveLength(1)
    expect(await refundsOf(id)).toEqual([])
  }
})

test('a refund without an order that the provider refuses is a dead letter', async () => {
  const { id } = await order()
  await shop.run('order.charge', { orderId: id })
  await rewind(id, 'cancelled')
  await shop.payments.behave({ refusals: { 1000: 422 } })
  expect(await shop.run('order.charge', { orderId: id, again: true })).toBeInstanceOf(PermanentFailure)
})

test('a first run that finds nothing to charge asks the provider nothing', async () => {
  const { id } = await order()
  await cancel(id)
  const before = (await shop.payments.seen()).requests
  expect(await shop.run('order.charge', { orderId: id })).toBeUndefined()
  expect((await shop.payments.seen()).requests).toBe(before)
})

test.each([400, 404, 410, 422])(
  'a refusal with %i is a known outcome: the order fails, its tickets come back',
  async (status) => {
    const { id, showId } = await order({ quantity: 2 })
    await shop.payments.behave({ refusals: { 2000: status } })
    expect(await shop.run('order.charge', { orderId: id })).toBeInstanceOf(PermanentFailure)
    expect(await shop.statusOf(id)).toBe('failed')
    expect(await availableOf(showId)).toBe(10)
  },
)

test.each([401, 403])(
  'a provider that refuses us (%i) leaves the order to its hold: it can be cancelled',
  async (status) => {
    const { id, showId } = await order()
    await shop.payments.behave({ refusals: { 1000: status } })
    const failure = (await shop.run('order.charge', { orderId: id })) as Error
    expect(failure).toBeInstanceOf(PermanentFailure)
    expect(isProvidersFailure(failure)).toBe(true)
    expect(await shop.statusOf(id)).toBe('pending')
    expect(await cancel(id)).toMatchObject({ status: 200, body: { status: 'cancelled' } })
    expect(await availableOf(showId)).toBe(10)
  },
)

test.each([408, 409, 425, 429, 500, 503])('a refusal with %i may be another answer at the next try', async (status) => {
  const { id } = await order()
  await shop.payments.behave({ refusals: { 1000: status } })
  const failure = await shop.run('order.charge', { orderId: id })
  expect(failure).toBeInstanceOf(Error)
  expect(failure).not.toBeInstanceOf(PermanentFailure)
  expect(await shop.statusOf(id)).toBe('charging')
})

test('a refusal after a try without an answer does not hide that the try has charged', async () => {
  const { id } = await order()
  await shop.payments.behave({ lostAnswers: 1 })
  await shop.run('order.charge', { orderId: id })
  await shop.payments.behave({ refusals: { 1000: 422 } })
  expect(await shop.run('order.charge', { orderId: id }, { isFirstTry: false })).toBeUndefined()
  expect(await shop.statusOf(id)).toBe('paid')
})

test('an address that answers 404 to everything says nothing about an earlier try: the order waits for an operator', async () => {
  const { id, showId } = await order()
  await shop.payments.behave({ lostAnswers: 1 })
  await shop.run('order.charge', { orderId: id })
  await shop.payments.behave({ isElsewhere: true })
  expect(await shop.run('order.charge', { orderId: id }, { isFirstTry: false })).toBeInstanceOf(PermanentFailure)
  expect(await shop.statusOf(id)).toBe('charging')
  expect(await availableOf(showId)).toBe(9)
  await shop.payments.behave({})
  await shop.run('order.charge', { orderId: id }, { isFirstTry: false })
  expect(await shop.statusOf(id)).toBe('paid')
})

test('a receiver whom the mail server refuses is a permanent failure, whose message names no address', async () => {
  const { id } = await order()
  await shop.run('order.charge', { orderId: id })
  await shop.mail.behave({ refusals: { [ana]: 550 } })
  const failure = (await shop.run('order.mail', { orderId: id })) as Error
  expect(failure).toBeInstanceOf(PermanentFailure)
  expect(`${failure.message} ${failure.stack}`).not.toContain('@example.com')
  await shop.mail.behave({ refusals: { [ana]: 450 } })
  expect(await shop.run('order.mail', { orderId: id })).not.toBeInstanceOf(PermanentFailure)
  expect(await shop.statusOf(id)).toBe('paid')
})

test('orders that the provider always fails, and receivers that are refused for now, hold back nobody else', async ({
  onTestFinished,
}) => {
  const breakers = createBreakers({ log, failures: 3, openMs: 60_000 })
  const provider = { url: shop.payments.url, timeoutMs: 300 }
  const payments = breakers.of('payments', { isFailure: isProvidersFailure, check: createPaymentsCheck(provider) })
  const mail = breakers.of('mail', {
    isFailure: isMailServersFailure,
    check: createMailCheck({ smtpUrl: shop.smtpUrl }),
  })
  const charge = (amountCents: number) => {
    const { signal } = new AbortController()
    const request = { reference: '1', amountCents, currency: 'EUR', requestId: 'r', traceparent: undefined, signal }
    const begin = async () => true
    return createPayments({ ...provider, breaker: payments }).charge(
      { ...request, key: randomUUID(), isFirst: true },
      begin,
    )
  }
  const mailer = createSmtpMailer({ smtpUrl: shop.smtpUrl, from: 'shop@example.com', breaker: mail })
  onTestFinished(mailer.stop)
  const confirm = (email: string) =>
    mailer.send({
      ...{ to: email, subject: 'Order', text: 'Order', id: randomUUID(), requestId: 'r' },
      ...{ traceparent: undefined, isFirst: true, signal: new AbortController().signal },
    })
  await shop.payments.behave({ brokenAmounts: [666] })
  await shop.mail.behave({ refusals: { 'full@': 452 } })
  for (let n = 0; n < 10; n++) {
    await expect(charge(666)).rejects.toThrow('500')
    await expect(confirm('full@example.com')).rejects.toThrow('452')
  }
  expect(await charge(100)).toMatchObject({ status: 'succeeded' })
  await confirm('ana@example.com')
  expect(breakers.states()).toEqual({ payments: { open: false, refused: 0 }, mail: { open: false, refused: 0 } })

  await wait(1100) // the check's result is good for a second
  await shop.payments.behave({ hang: true })
  for (let n = 0; n < 3; n++) await expect(charge(100)).rejects.toThrow('timeout')
  await expect(charge(100)).rejects.toMatchObject({ code: 'E_PEER_UNAVAILABLE' })
})

test('the sweep leaves orders whose job is a dead letter to an operator, and finds the others behind them', async () => {
  const orders = []
  for (let n = 0; n < 3; n++) orders.push(await order())
  await shop.postgres.query('DELETE FROM outbox')
  for (const { id } of orders) await shop.age(id, 'touched_at')
  for (const { id } of orders.slice(0, 2)) shop.dead.add(`order.charge ${id}`)
  const emitted = async () =>
    (await shop.postgres.query<{ aggregate: string }>('SELECT aggregate FROM outbox')).rows.map((row) => row.aggregate)
  const allDead = { among: async (_: string, ids: string[]) => new Set(ids) }
  const look = async () => (await reemitSome(shop.postgres, shop.outbox, allDead, 60_000, 2)).seen
  expect([await look(), await look(), await look()]).toEqual([2, 1, 0])
  expect(await emitted()).toEqual([])
  for (const { id } of orders) await shop.age(id, 'touched_at')
  await shop.run('orders.sweep')
  expect(await emitted()).toHaveLength(1)
  for (const { id } of orders) await shop.age(id, 'touched_at')
  await shop.postgres.query('DELETE FROM outbox')
  shop.dead.clear() // replayed, or dropped
  await shop.run('orders.sweep')
  expect((await emitted()).sort()).toEqual(orders.map(({ id }) => id).sort())
})

test('a hold that is over is not charged, swept or not', async () => {
  const { id } = await order()
  await shop.age(id, 'hold_until')
  await shop.run('order.charge', { orderId: id })
  expect(await chargesOf(id)).toEqual([])
  expect(await shop.statusOf(id)).toBe('pending')
})

test('a payload that names no order goes to the dead letters, and one of a newer version to a newer worker', async () => {
  expect(await shop.run('order.charge', { version: 2, orderId: randomUUID() })).toMatchObject({ code: 'E_JOB_TOO_NEW' })
  expect(await shop.run('order.charge', { orderId: 'x' })).toBeInstanceOf(PermanentFailure)
  expect(await shop.run('order.charge', { orderId: randomUUID(), extra: 1 })).toBeUndefined()
})
