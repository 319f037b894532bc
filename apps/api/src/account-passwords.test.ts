import { randomUUID } from 'node:crypto'
import { changePassword } from '@escala/accounts/passwords'
import type { UserSessions } from '@escala/kit/sessions/user-sessions'
import type { Client } from '@escala/testing/client'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { startAccountMails } from './test-account-mails.ts'
import { startTestCluster, type TestCluster } from './test-cluster.ts'

let cluster: TestCluster
let mails: Awaited<ReturnType<typeof startAccountMails>>
beforeAll(async () => {
  mails = await startAccountMails()
  cluster = await startTestCluster({
    postgresUrl: inject('postgresUrl'),
    redisUrl: inject('redisUrl'),
    // sample
    env: { REQUIRE_VERIFIED_EMAIL: '1' },
    // /sample
  })
})
afterAll(async () => {
  await cluster.stop()
  await mails.stop()
})

const work = () => mails.work(cluster.postgres)
const mailsTo = (email: string) => mails.mailsTo(email)
const tokenIn = (text: string) => /^[\w-]{43}$/m.exec(text.replaceAll('\r', ''))?.[0] ?? ''
const lastToken = async (email: string) => tokenIn((await mailsTo(email)).at(-1)?.text ?? '')
const statuses = (clients: Client[]) =>
  Promise.all(clients.map(async (client) => (await client.get('/v1/session')).status))
const tryLogIn = async (email: string, password: string) =>
  (await cluster.client(1).post('/v1/session', { email, password })).status

test('a new password is no common one, and not the address of its user, at a change and at a reset', async () => {
  const { user, email, password } = await cluster.loggedIn(0)
  await user.post('/v1/password-resets', { email })
  await work()
  const token = await lastToken(email)
  for (const weak of ['iloveyou', email.toUpperCase()]) {
    expect((await user.put('/v1/password', { current: password, password: weak })).body.fields).toHaveProperty(
      'password',
    )
    expect((await user.put('/v1/password-resets', { token, password: weak })).body.fields).toHaveProperty('password')
  }
  expect((await user.put('/v1/password-resets', { token, password: 'another horse' })).status).toBe(204)
})

test('a new password ends all other sessions on every replica, and the old one is worth nothing', async () => {
  const { user, email, password } = await cluster.loggedIn(0)
  const { user: other } = await cluster.loggedIn(1, { email, password })
  const change = (current: string) => user.put('/v1/password', { current, password: 'another horse' })
  expect(await change('wrong horse')).toMatchObject({ status: 401, body: { code: 'E_BAD_CREDENTIALS' } })
  expect(await statuses([user, other])).toEqual([200, 200])
  expect((await change(password)).status).toBe(204)
  expect(await statuses(cluster.everywhere(other))).toEqual([401, 401, 401])
  expect(await statuses(cluster.everywhere(user))).toEqual([200, 200, 200])
  expect([await tryLogIn(email, password), await tryLogIn(email, 'another horse')]).toEqual([401, 200])
})

test('of log-ins with the old password beside its change, none outlives it', async () => {
  const { user, email, password } = await cluster.loggedIn(0)
  const others = Array.from({ length: 9 }, (_, i) => cluster.client(i % 3))
  const logIns = others.map((other) => other.post('/v1/session', { email, password }))
  const changed = user.put('/v1/password', { current: password, password: 'another horse' })
  await Promise.all([...logIns, changed])
  expect((await changed).status).toBe(204)
  expect(await statuses(others)).toEqual(Array(9).fill(401))
})

test('a hash that a log-in renews meanwhile does not stop a change of the password; another change does', async () => {
  const { user } = await cluster.loggedIn(0)
  const { id: userId } = (await user.get('/v1/session')).body.user
  await cluster.postgres.query("UPDATE users SET password_hash = 'renewed' WHERE id = $1", [userId])
  const sessions = { endAll: async () => [] } as unknown as UserSessions
  const change = (to: string) => changePassword(cluster.postgres, sessions, { userId, version: 0, to, keepSession: '' })
  await change('first')
  await expect(change('second')).rejects.toMatchObject({ code: 'E_BAD_CREDENTIALS' })
})

test('wrong passwords of a session are limited as log-ins are', async () => {
  const { user, email, password } = await cluster.loggedIn(0)
  const wrong = () => user.put('/v1/password', { current: 'wrong horse', password: 'another horse' })
  const tries = await Promise.all(Array.from({ length: 8 }, wrong))
  expect(tries.filter(({ status }) => status === 429).length).toBeGreaterThanOrEqual(3)
  expect(await tryLogIn(email, password)).toBe(200)
})

test('those who guess at the same address do not keep a session from changing its password', async () => {
  const [address, { email, password }] = [cluster.newAddress(), await cluster.loggedIn(0)]
  const user = cluster.client(0, address)
  await user.logIn(email, password)
  user.cookies.delete('device') // a browser sends it to log-ins only
  const guess = () => cluster.client(1, address).post('/v1/session', { email, password: 'wrong horse' })
  expect((await Promise.all(Array.from({ length: 6 }, guess))).filter(({ status }) => status === 429)).not.toEqual([])
  expect((await user.put('/v1/password', { current: password, password: 'another horse' })).status).toBe(204)
})

test('a token from a mail sets a new password once, and ends every session', async () => {
  const { user, email, password } = await cluster.loggedIn(0)
  expect((await cluster.client(1).post('/v1/password-resets', { email: email.toUpperCase() })).status).toBe(202)
  await work()
  const token = await lastToken(email)
  const { rows } = await cluster.postgres.query<{ stored: string }>(
    "SELECT string_agg(encode(hash, 'escape'), ' ') AS stored FROM account_codes",
  )
  expect(rows[0]?.stored).not.toContain(token)
  const reset = (replica: number) =>
    cluster.client(replica).put('/v1/password-resets', { token, password: 'another horse' })
  const answers = await Promise.all([0, 1, 2].map(reset))
  expect(answers.map(({ status }) => status).sort()).toEqual([204, 400, 400])
  expect(answers.find(({ status }) => status === 400)?.body.code).toBe('E_TOKEN_INVALID')
  expect(await statuses(cluster.everywhere(user))).toEqual([401, 401, 401])
  expect([await tryLogIn(email, password), await tryLogIn(email, 'another horse')]).toEqual([401, 200])
})

test('a reset revokes the tokens of its user, and no others; a change of the password revokes none', async () => {
  const [ann, eve] = [await cluster.loggedIn(0), await cluster.loggedIn(1)]
  const add = (email: string) =>
    cluster.postgres.query(
      `INSERT INTO access_tokens (id, user_id, name, scopes, hash, expires_at)
       SELECT $1, id, 'CI', '{}', $2, now() + interval '1 day' FROM users WHERE email = $3`,
      [randomUUID(), Buffer.from(randomUUID()), email],
    )
  for (const { email } of [ann, eve]) await add(email)
  const left = async (user: Client) => (await user.get('/v1/tokens')).body.items.length
  await ann.user.put('/v1/password', { current: ann.password, password: 'another horse' })
  expect([await left(ann.user), await left(eve.user)]).toEqual([1, 1])
  await cluster.client().post('/v1/password-resets', { email: ann.email })
  await work()
  const reset = { token: await lastToken(ann.email), password: 'a third horse' }
  expect((await cluster.client().put('/v1/password-resets', reset)).status).toBe(204)
  const { user } = await cluster.loggedIn(0, { email: ann.email, password: 'a third horse' })
  expect([await left(user), await left(eve.user)]).toEqual([0, 1])
})

test('a token is worth nothing after an hour, after a change of the password, or for something else', async () => {
  const { user, email, password } = await cluster.loggedIn(0)
  const ask = async () => {
    await cluster.client().post('/v1/password-resets', { email })
    await work()
    return lastToken(email)
  }
  const use = async (token: string) =>
    (await cluster.client().put('/v1/password-resets', { token, password: 'another horse' })).body?.code
  const old = await ask()
  await cluster.postgres.query("UPDATE account_codes SET created_at = created_at - interval '61 minutes'")
  expect(await use(old)).toBe('E_TOKEN_INVALID')
  const before = await ask()
  expect((await user.put('/v1/email-verifications', { token: before })).body.code).toBe('E_TOKEN_INVALID')
  await user.put('/v1/password', { current: password, password: 'a third horse' })
  expect(await use(before)).toBe('E_TOKEN_INVALID')
})

test('asking for a reset does not reveal whether an address is known: both cost the same statement, and one mail at most', async () => {
  const { email } = await cluster.loggedIn(0)
  const unknown = `${randomUUID()}@example.com`
  const ask = (address: string) => cluster.client().post('/v1/password-resets', { email: address })
  const [known, stranger] = [await ask(email), await ask(unknown)]
  expect([known.status, known.body]).toEqual([stranger.status, stranger.body])
  const { rowCount } = await cluster.postgres.query('SELECT FROM outbox WHERE published_at IS NULL')
  expect(rowCount).toBe(2)
  await work()
  expect([(await mailsTo(email)).length, (await mailsTo(unknown)).length]).toEqual([1, 0])
  for (const address of [email, unknown]) {
    const more = await Promise.all(Array.from({ length: 6 }, () => ask(address)))
    expect(more.filter(({ status }) => status === 429)).toHaveLength(2) // five an hour
  }
})

test('an address is verified with a token from a mail, which has no text that its user chose', async () => {
  const user = cluster.client(0)
  const email = `${randomUUID()}@example.com`
  const account = { email, password: 'correct horse', name: 'Win at http://spam.example' }
  await user.post('/v1/users', account)
  await user.logIn(email, account.password)
  expect((await user.post('/v1/email-verifications')).status).toBe(202)
  await work()
  const [mail] = await mailsTo(email)
  expect(JSON.stringify(mail)).not.toContain('spam')
  const token = tokenIn(mail?.text ?? '')
  const verify = () => cluster.client(2).put('/v1/email-verifications', { token })
  expect((await verify()).status).toBe(204)
  expect(await verify()).toMatchObject({ status: 400, body: { code: 'E_TOKEN_INVALID' } })
  await user.post('/v1/email-verifications')
  await work()
  expect(await mailsTo(email)).toHaveLength(1) // verified already
})

// sample
test('with REQUIRE_VERIFIED_EMAIL, only users with a verified address order', async () => {
  const { user, email } = await cluster.loggedIn(0)
  const { rows } = await cluster.postgres.query<{ id: string }>('SELECT id FROM shows LIMIT 1')
  const order = () => user.post(`/v1/shows/${rows[0]?.id}/orders`, { quantity: 1 }, { 'idempotency-key': randomUUID() })
  expect(await order()).toMatchObject({ status: 403, body: { code: 'E_EMAIL_NOT_VERIFIED' } })
  await user.post('/v1/email-verifications')
  await work()
  await user.put('/v1/email-verifications', { token: await lastToken(email) })
  expect((await order()).status).toBe(201)
})
// /sample
