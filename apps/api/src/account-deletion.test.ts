import { createHash, randomUUID } from 'node:crypto'
import type { Client } from '@escala/testing/client'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { startAccountMails } from './test-account-mails.ts'
import { startTestCluster, type TestCluster } from './test-cluster.ts'

let cluster: TestCluster
let mails: Awaited<ReturnType<typeof startAccountMails>>
let redis: Redis
beforeAll(async () => {
  mails = await startAccountMails()
  redis = new Redis(inject('redisUrl'))
  cluster = await startTestCluster({ postgresUrl: inject('postgresUrl'), redisUrl: inject('redisUrl') })
})
afterAll(async () => {
  redis.disconnect()
  await cluster.stop()
  await mails.stop()
})

const statuses = (clients: Client[]) =>
  Promise.all(clients.map(async (client) => (await client.get('/v1/session')).status))
const idOf = async (user: Client): Promise<string> => (await user.get('/v1/session')).body.user.id
const sessionId = (user: Client) => decodeURIComponent(user.cookies.get('sid') ?? '').replace(/^s:(.*)\..*$/, '$1')

/** The tables that hold one of the texts in some row. */
async function tablesWith(...texts: string[]): Promise<string[]> {
  const { rows } = await cluster.postgres.query<{ name: string }>(
    "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'",
  )
  const found = []
  for (const { name } of rows) {
    const patterns = texts.map((text) => `%${text}%`)
    const held = await cluster.postgres.query(`SELECT FROM "${name}" AS held WHERE held::text ILIKE ANY ($1) LIMIT 1`, [
      patterns,
    ])
    if (held.rowCount > 0) found.push(name)
  }
  return found.sort()
}

/** Makes the log-in of a session older. */
async function age(user: Client, ms: number): Promise<void> {
  const found = (await redis.keys(`*${sessionId(user)}}`)).find((name) => name.includes('session')) ?? ''
  const record = JSON.parse((await redis.get(found)) ?? '{}')
  await redis.set(found, JSON.stringify({ ...record, loggedInAt: Date.now() - ms }), 'KEEPTTL')
}

test('an export has the account, its sessions and its tokens, from every replica; ten an hour', async () => {
  const { user, email, password } = await cluster.loggedIn(0)
  const phone = cluster.client(1, undefined, { 'user-agent': 'Phone' })
  await phone.logIn(email, password)
  const id = await idOf(user)
  await cluster.postgres.query(
    `INSERT INTO access_tokens (id, user_id, name, scopes, hash, expires_at)
     VALUES ($1, $2, 'CI', '{some:scope}', $3, now() + interval '1 day')`,
    [randomUUID(), id, Buffer.from(randomUUID())],
  )
  const { status, body, headers } = await (cluster.everywhere(user)[2] as Client).get('/v1/me/export')
  expect(status).toBe(200)
  expect(body.account).toMatchObject({ id, email, role: null, emailVerifiedAt: null })
  expect(body.sessions.map(({ userAgent }: { userAgent: string }) => userAgent).sort()).toEqual(['', 'Phone'])
  expect(body.tokens).toMatchObject([{ name: 'CI', scopes: ['some:scope'] }])
  expect(JSON.stringify(body)).not.toMatch(/hash|argon2|\$scrypt/)
  expect(headers).toMatchObject({
    'cache-control': 'private, no-store',
    'content-disposition': expect.stringContaining('attachment'),
  })
  const more = await Promise.all(Array.from({ length: 11 }, () => user.get('/v1/me/export')))
  expect(more.filter(({ status }) => status === 429)).toHaveLength(2)
  expect((await cluster.client().get('/v1/me/export')).body.code).toBe('E_NOT_LOGGED_IN')
})

test('a deleted user is gone on every replica, and leaves nothing personal; the address may sign up again', async () => {
  const { user, email, password } = await cluster.loggedIn(0)
  const { user: phone } = await cluster.loggedIn(1, { email, password })
  const id = await idOf(user)
  await user.post('/v1/email-verifications')
  expect(await tablesWith(email, id)).toEqual(['outbox', 'users'])
  const digest = createHash('sha256').update(email).digest('base64url')
  const known = () => redis.keys(`*{${digest}}:known`) // addresses that logged in
  expect(await known()).toHaveLength(1)
  expect((await user.delete('/v1/me')).status).toBe(204)
  expect(await known()).toEqual([])
  expect([user.cookies.has('sid'), user.cookies.has('device')]).toEqual([false, false])
  expect(await statuses(cluster.everywhere(phone))).toEqual([401, 401, 401])
  expect((await cluster.client(2).post('/v1/session', { email, password })).status).toBe(401)

  expect(await tablesWith(email)).toEqual(['account_farewells']) // until the mail is sent
  await mails.work(cluster.postgres) // with the job that was to verify the address
  const sent = await mails.mailsTo(email)
  expect(sent.map(({ subject }) => subject)).toEqual(['Your account was deleted'])
  await cluster.postgres.query('UPDATE outbox SET published_at = NULL')
  await mails.work(cluster.postgres) // jobs may run twice
  expect(await mails.mailsTo(email)).toHaveLength(1)
  expect(await tablesWith(email)).toEqual([])
  expect(await tablesWith(id)).toEqual(['outbox']) // of the job that did nothing, for a day
  const keys = (await redis.keys(`*${id}*`)).filter((key) => !key.startsWith('rate-limit:')) // those are counters, for an hour
  expect(keys).toEqual([expect.stringContaining('session:of:')]) // when all sessions ended, for a week
  expect(await redis.hkeys(keys[0] ?? '')).toEqual(['*'])

  const again = await cluster.client(1).signUp(email)
  expect(again.id).not.toBe(id)
})

test('of deletions at once each gets 204, and one mail goes out; later ones are not logged in', async () => {
  const { user, email } = await cluster.loggedIn(0)
  const everywhere = cluster.everywhere(user)
  const responses = await Promise.all(everywhere.map((client) => client.delete('/v1/me')))
  expect(responses.filter(({ status }) => status === 204).length).toBeGreaterThan(0)
  expect(responses.filter(({ status }) => status !== 204 && status !== 401)).toEqual([])
  expect((await (cluster.everywhere(user)[1] as Client).delete('/v1/me')).status).toBe(401)
  await mails.work(cluster.postgres)
  expect(await mails.mailsTo(email)).toHaveLength(1)
})

test('an older log-in needs the password to delete its account', async () => {
  const { user, password } = await cluster.loggedIn(0)
  await age(user, 601_000)
  expect(await user.delete('/v1/me')).toMatchObject({ status: 403, body: { code: 'E_PASSWORD_REQUIRED' } })
  expect((await user.delete('/v1/me', { password: 'wrong horse' })).body.code).toBe('E_BAD_CREDENTIALS')
  expect((await user.delete('/v1/me', { pass: 'word' })).body.code).toBe('E_VALIDATION')
  expect(await statuses([user])).toEqual([200])
  expect((await user.delete('/v1/me', { password })).status).toBe(204)
})

test('a log-in beside the deletion does not outlive it', async () => {
  const { user, email, password } = await cluster.loggedIn(0)
  const others = Array.from({ length: 4 }, (_, i) => cluster.client(i % 3))
  const logIns = others.map((other) => other.post('/v1/session', { email, password }))
  const [deleted] = await Promise.all([user.delete('/v1/me'), ...logIns])
  expect(deleted.status).toBe(204)
  expect(await statuses(others)).toEqual([401, 401, 401, 401])
})

// sample
const order = async (user: Client) => {
  const { rows } = await cluster.postgres.query<{ id: string }>('SELECT id FROM shows ORDER BY id LIMIT 1')
  const show = rows[0]?.id
  await user.put(`/v1/cart/items/${show}`, { quantity: 2 })
  const placed = await user.post(`/v1/shows/${show}/orders`, { quantity: 1 }, { 'idempotency-key': randomUUID() })
  return { show, id: placed.body.id as string }
}
const setStatus = (id: string, status: string) =>
  cluster.postgres.query('UPDATE orders SET status = $2 WHERE id = $1', [id, status])
const left = async (id: string) => {
  const text = 'SELECT user_id AS "userId", status, hold_until <= now() AS "isOver" FROM orders WHERE id = $1'
  return (await cluster.postgres.query(text, [id])).rows[0]
}

test('an export has the orders and the cart, and a deletion leaves the orders without their user', async () => {
  const { user } = await cluster.loggedIn(0)
  const [paid, pending] = [await order(user), await order(user)]
  await setStatus(paid.id, 'paid')
  const id = await idOf(user)
  const { body } = await user.get('/v1/me/export')
  expect(body.modules.tickets).toMatchObject({
    orders: [{ id: pending.id }, { id: paid.id }],
    olderOrdersLeftOut: false,
  })
  expect(body.sessions[0].kept).toEqual({ cart: { [String(paid.show)]: '2' } })
  const carts = `*cart:${sessionId(user)}`
  expect(await redis.keys(carts)).toHaveLength(1)
  expect(await tablesWith(id)).toEqual(['idempotency_keys', 'orders', 'users'])

  expect((await user.delete('/v1/me')).status).toBe(204)
  expect(await tablesWith(id)).toEqual([])
  expect(await redis.keys(carts)).toEqual([])
  expect(await left(paid.id)).toEqual({ userId: null, status: 'paid', isOver: false })
  expect(await left(pending.id)).toEqual({ userId: null, status: 'pending', isOver: true }) // the sweep gives its tickets back
})

test.each(['charging', 'refunding'])('nothing is deleted while an order is %s', async (status) => {
  const { user } = await cluster.loggedIn(0)
  const { show, id } = await order(user)
  await setStatus(id, status)
  const userId = await idOf(user)
  const refused = await user.delete('/v1/me')
  expect(refused).toMatchObject({ status: 409, body: { code: 'E_ORDER_BUSY' }, headers: { 'retry-after': '2' } })
  expect(await left(id)).toMatchObject({ userId, status })
  expect((await user.get('/v1/cart')).body.items).toEqual([{ showId: show, quantity: 2 }])
  await setStatus(id, 'confirmed')
  expect((await user.delete('/v1/me')).status).toBe(204)
})
// /sample
