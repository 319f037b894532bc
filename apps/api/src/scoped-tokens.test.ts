import { createHash, randomUUID } from 'node:crypto'
import type { Client } from '@escala/testing/client'
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest'
import { startTestCluster, type TestCluster } from './test-cluster.ts'

// With the scopes of the ticket shop.
let cluster: TestCluster
beforeAll(async () => {
  cluster = await startTestCluster({ postgresUrl: inject('postgresUrl'), redisUrl: inject('redisUrl') })
})
afterAll(() => cluster.stop())

const scopes = ['orders:read']
const expiresAt = () => new Date(Date.now() + 3_600_000).toISOString()
const withToken = (token: string, replica = 0) =>
  cluster.client(replica, undefined, { authorization: `Bearer ${token}` })
const create = async (user: Client, more: object = {}) =>
  user.post('/v1/tokens', { name: 'CI', scopes, expiresAt: expiresAt(), ...more })

test('a token works on every replica where its scope is named, and nowhere else', async () => {
  const { user } = await cluster.loggedIn(0)
  const created = await create(user)
  expect(created).toMatchObject({ status: 201, body: { name: 'CI', scopes, token: expect.stringMatching(/^escala_/) } })
  const { token } = created.body
  const codes = async (method: 'get' | 'post' | 'put' | 'delete', path: string, body?: object) =>
    Promise.all([0, 1, 2].map(async (replica) => (await withToken(token, replica)[method](path, body)).status))
  expect(await codes('get', '/v1/orders')).toEqual([200, 200, 200])
  expect(await codes('get', '/v1/shows')).toEqual([200, 200, 200])
  const order = `/v1/shows/${randomUUID()}/orders`
  for (const [method, path] of [
    ['post', order],
    ['post', '/v1/tokens'],
    ['get', '/v1/tokens'],
    ['get', '/v1/session'],
    ['delete', '/v1/session'],
    ['get', '/v1/sessions'],
    ['delete', '/v1/sessions'],
    ['put', '/v1/password'],
    ['post', '/v1/password-resets'],
    ['post', '/v1/email-verifications'],
    ['get', '/v1/cart'],
    ['put', `/v1/cart/items/${randomUUID()}`],
  ] as const) {
    const answer = await withToken(token)[method](path, {})
    expect([path, answer.status, answer.body.code]).toEqual([path, 403, 'E_SCOPE'])
  }
  expect(await codes('get', '/v1/session')).toEqual([403, 403, 403])
})

test('a token goes before a cookie, and gives no role', async () => {
  const [ann, eve] = [await cluster.loggedIn(0), await cluster.loggedIn(1)]
  const { token } = (await create(ann.user, { scopes: ['shows:write', 'orders:read'] })).body
  const both = { authorization: `Bearer ${token}` }
  expect((await eve.user.get('/v1/session', undefined, both)).body.code).toBe('E_SCOPE')
  expect((await eve.user.get('/v1/session')).status).toBe(200)
  const answer = await withToken(token).post('/v1/shows', {
    ...{ name: 'Gig', startsAt: expiresAt(), priceCents: 1, currency: 'EUR', capacity: 1 },
  })
  expect(answer.body.code).toBe('E_FORBIDDEN')
})

test('a token that was revoked, or has expired, is refused on every replica at once', async () => {
  const { user } = await cluster.loggedIn(0)
  const [one, two] = [(await create(user)).body, (await create(user)).body]
  const { body } = await user.get('/v1/tokens?limit=1')
  expect(body).toEqual({ items: [{ id: one.id, name: 'CI', scopes, expiresAt: one.expiresAt }], nextCursor: one.id })
  expect((await user.get(`/v1/tokens?limit=1&cursor=${body.nextCursor}`)).body).toMatchObject({
    items: [{ id: two.id }],
    nextCursor: null,
  })
  const stranger = await cluster.loggedIn(1)
  expect((await stranger.user.delete(`/v1/tokens/${one.id}`)).status).toBe(404)
  expect((await user.delete(`/v1/tokens/${one.id}`)).status).toBe(204)
  expect((await user.delete(`/v1/tokens/${one.id}`)).status).toBe(404)
  await cluster.postgres.query('UPDATE access_tokens SET expires_at = now() WHERE id = $1', [two.id])
  for (const { token } of [one, two]) {
    const codes = await Promise.all([0, 1, 2].map(async (i) => (await withToken(token, i).get('/v1/orders')).status))
    expect(codes).toEqual([401, 401, 401])
  }
  const { rows } = await cluster.postgres.query<{ all: string }>('SELECT access_tokens::text AS all FROM access_tokens')
  expect(JSON.stringify(rows)).not.toContain(two.token)
})

test('no token that is made beside a reset of the password outlives it', async () => {
  const [{ user }, { user: stranger }] = [await cluster.loggedIn(0), await cluster.loggedIn(1)]
  const secret = randomUUID()
  const { id } = (await user.get('/v1/session')).body.user
  const hash = createHash('sha256').update(secret).digest()
  const addCode = `INSERT INTO account_codes (hash, user_id, purpose) VALUES ($1, $2, 'password-reset')`
  await cluster.postgres.query(addCode, [hash, id])
  const waiting = async (statements: number) => {
    const text = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    await vi.waitFor(async () => expect((await cluster.postgres.query(text)).rowCount).toBe(statements), 10_000)
  }
  // Both wait for the user's row, the reset first: each has read what it needs by then.
  const [reset, token] = await cluster.postgres.transaction(async (tx) => {
    await tx.query('SELECT FROM users WHERE id = $1 FOR UPDATE', [id])
    const reset = cluster.client(1).put('/v1/password-resets', { token: secret, password: 'another horse' })
    await waiting(1)
    const token = create(cluster.everywhere(user)[2] as Client)
    await waiting(2)
    return [reset, token]
  })
  expect([(await reset).status, (await token).status]).toEqual([204, 401])
  const { rowCount } = await cluster.postgres.query('SELECT FROM access_tokens WHERE user_id = $1', [id])
  expect(rowCount).toBe(0)
  expect((await create(stranger)).status).toBe(201)
})

test('a user has 50 tokens at most, made on all replicas at once', async () => {
  const { user } = await cluster.loggedIn(0)
  const everywhere = cluster.everywhere(user)
  const made = await Promise.all(Array.from({ length: 54 }, (_, i) => create(everywhere[i % 3] as Client)))
  expect(made.filter(({ status }) => status === 201)).toHaveLength(50)
  expect(made.find(({ status }) => status !== 201)).toMatchObject({ status: 409, body: { code: 'E_TOO_MANY_TOKENS' } })
})

test('an older log-in needs the password', async () => {
  const { user, password } = await cluster.loggedIn(0)
  // Ten minutes pass for the session: its record says when the log-in was.
  const { Redis } = await import('ioredis')
  const redis = new Redis(inject('redisUrl'))
  const id = decodeURIComponent(user.cookies.get('sid') ?? '').replace(/^s:(.*)\..*$/, '$1')
  const [key = ''] = (await redis.keys(`*${id}}`)).filter((name) => !name.includes('rate'))
  const record = JSON.parse((await redis.get(key)) ?? '{}')
  await redis.set(key, JSON.stringify({ ...record, loggedInAt: Date.now() - 601_000 }), 'KEEPTTL')
  redis.disconnect()
  expect(await create(user)).toMatchObject({ status: 403, body: { code: 'E_PASSWORD_REQUIRED' } })
  expect((await create(user, { password: 'wrong horse' })).body.code).toBe('E_BAD_CREDENTIALS')
  expect((await create(user, { password })).status).toBe(201)
})

test('requests of a token are counted by the token, and those of a worthless one by their address', async () => {
  const { user } = await cluster.loggedIn(0)
  const { token } = (await create(user)).body
  const good = await withToken(token).get('/v1/orders')
  const [bad, nobody] = [withToken('none'), cluster.client(0)]
  const partition = (headers: Client | Awaited<ReturnType<Client['get']>>) =>
    /"general"[^,]*pk=:([^:]+):/.exec(
      String((headers as { headers: Record<string, unknown> }).headers['ratelimit-policy']),
    )?.[1]
  const again = await withToken(token, 1).get('/v1/orders')
  expect(partition(good)).toBe(partition(again)) // from another address, at another replica
  expect(partition(await bad.get('/v1/orders'))).not.toBe(partition(good))
  expect((await nobody.get('/v1/orders')).status).toBe(401)
})
