import { createHash, randomUUID } from 'node:crypto'
import { createLog } from '@escala/kit/log/log'
import { scrypt } from '@escala/kit/passwords/scrypt'
import { createPostgres } from '@escala/kit/postgres/postgres'
import { type Client, createClient, expectStatus } from '@escala/testing/client'
import { templateDatabase } from '@escala/testing/template'
import { createTestDatabase } from '@escala/testing/test-database'
import { startWireTap } from '@escala/testing/wire-tap'
import { Redis } from 'ioredis'
import { afterAll, afterEach, expect, inject, test } from 'vitest'
import type { Api } from './compose.ts'
import { startReplicas } from './test-cluster.ts'

const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
const template = await templateDatabase(inject('postgresUrl'))
const database = await createTestDatabase(inject('postgresUrl'), { template })
const postgres = createPostgres({
  url: database.url,
  log,
  applicationName: 'test',
  maxConnections: 2,
  timeoutMs: 5000,
})
let replicas: Api[] = []

afterEach(async () => {
  await Promise.all(replicas.splice(0).map((replica) => replica.stop()))
})
afterAll(async () => {
  await postgres.stop()
  await database.drop()
})

/** Three replicas; how fast a busy machine answers is not what these tests are about. */
async function start(env: Record<string, string> = {}) {
  replicas = await startReplicas({ databaseUrl: database.url, redisUrl: inject('redisUrl'), env })
}

let calls = 0
/** Each request goes to the next replica. */
const client = (address: string): Client => {
  const base = `http://127.0.0.1:${replicas[calls++ % 3]?.port()}`
  return createClient(base, { headers: { 'x-forwarded-for': address } })
}
let lastAddress = Math.floor(Math.random() * 2 ** 23)
/** Counters are in a Redis that other tests use too, and last for a minute. */
function newAddress(): string {
  const number = ++lastAddress
  return `10.${(number >> 16) & 255}.${(number >> 8) & 255}.${number & 255}`
}
const password = 'correct horse'
const signUp = async (address = newAddress()) => {
  const email = `${randomUUID()}@example.com`
  expectStatus(await client(address).post('/v1/users', { email, password, name: 'Ann' }), 201)
  return { email, password }
}
const at = (address: string, from: Client) => {
  const moved = client(address)
  for (const [name, value] of from.cookies) moved.cookies.set(name, value)
  return moved
}
async function statuses(calls: Promise<{ status: number }>[]) {
  const count: Record<number, number> = {}
  for (const { status } of await Promise.all(calls)) count[status] = (count[status] ?? 0) + 1
  return count
}
const many = <T>(times: number, call: (i: number) => T) => Array.from({ length: times }, (_, i) => call(i))

// sample
/** Returns the path, in any cart, of a show that exists. */
async function cartItem(): Promise<string> {
  const { rows } = await postgres.query<{ id: string }>(
    `INSERT INTO shows (id, name, starts_at, price_cents, currency, capacity, available)
     VALUES ($1, 'Gig', now() + interval '1 day', 1000, 'EUR', 10, 10) RETURNING id`,
    [randomUUID()],
  )
  return `/v1/cart/items/${rows[0]?.id}`
}

test('visitors of one address begin so many sessions a minute, over all replicas; those that have one go on', async () => {
  await start({ RATE_LIMIT_PER_MINUTE: '40' })
  const [item, address] = [await cartItem(), newAddress()]
  const visitors = many(10, () => client(address))
  const begun = await Promise.all(visitors.map((visitor) => visitor.put(item, { quantity: 1 })))
  expect(begun.map(({ status }) => status).sort()).toEqual([200, 200, 200, 200, ...many(6, () => 429)])
  expect(begun.find(({ status }) => status === 429)).toMatchObject({ body: { code: 'E_RATE_LIMITED' } })
  const known = visitors.filter((_, i) => begun[i]?.status === 200)
  for (const visitor of known) expectStatus(await visitor.put(item, { quantity: 2 }), 200)
  expectStatus(await client(newAddress()).put(item, { quantity: 1 }), 200)
})

test('sessions without a log-in share the budget of their address; those with one have their own', async () => {
  await start({ RATE_LIMIT_PER_MINUTE: '20' })
  const item = await cartItem()
  const visitors = await Promise.all(
    many(20, async () => {
      const visitor = client(newAddress())
      expectStatus(await visitor.put(item, { quantity: 1 }), 200)
      return visitor
    }),
  )
  const user = client(newAddress())
  const { email } = await signUp()
  await user.logIn(email, password)
  const loggedOut = at(newAddress(), user)
  await user.logIn(email, password) // the first session has ended

  const address = newAddress()
  expect(await statuses(many(21, () => client(address).get('/v1/openapi.json')))).toEqual({ 200: 20, 429: 1 })
  const reads = visitors.flatMap((visitor) => many(3, () => at(address, visitor).get('/v1/openapi.json')))
  expect(await statuses(reads)).toEqual({ 429: 60 })
  expect((await at(address, loggedOut).get('/v1/openapi.json')).status).toBe(429)
  const read = await at(address, user).get('/v1/session')
  expect(read.status).toBe(200)
  expect(read.headers.ratelimit).toMatch(/^"general"; r=\d+; t=\d+, "address"; r=\d+; t=\d+$/)
  expect(await statuses(many(25, () => at(newAddress(), user).get('/v1/session')))).toMatchObject({ 429: 6 })
})
// /sample

// /sample

test('an address has a limit of its own, whatever it sends; an IPv6 address counts by its first 64 bits', async () => {
  await start({ RATE_LIMIT_PER_MINUTE: '30', ADDRESS_LIMIT_PER_MINUTE: '50' })
  const users = await Promise.all(
    many(3, async () => {
      const user = client(newAddress())
      const { email } = await signUp()
      await user.logIn(email, password)
      return user
    }),
  )
  const network = `2001:db8:${Math.floor(Math.random() * 65_536).toString(16)}:${Math.floor(Math.random() * 65_536).toString(16)}`
  const reads = users.flatMap((user) => many(20, (i) => at(`${network}::${i + 1}`, user).get('/v1/session')))
  expect(await statuses(reads)).toEqual({ 200: 50, 429: 10 })
})

test('past the limit of its address, a made-up token costs no statement and no counter of its own', async () => {
  const redisUrl = inject('redisUrl')
  const tap = await startWireTap({ databaseUrl: database.url, redisUrl, cacheRedisUrl: redisUrl })
  const redis = new Redis(redisUrl)
  try {
    await start({
      ...{ DATABASE_URL: tap.databaseUrl, REDIS_URL: tap.redisUrl, CACHE_REDIS_URL: tap.cacheRedisUrl },
      ...{ ADDRESS_LIMIT_PER_MINUTE: '5', HEARTBEAT_MS: '60000' },
    })
    const address = newAddress()
    const tokens = many(25, () => `escala_${randomUUID()}`)
    const send = async (token: string) =>
      (await client(address).get('/v1/session', undefined, { authorization: `Bearer ${token}` })).status
    const lookups = async (tokens: string[]) => {
      const { result, statements } = await tap.count(() => Promise.all(tokens.map(send)))
      return { statuses: new Set(result), lookups: statements.filter((name) => name === 'users.token').length }
    }
    expect(await lookups(tokens.slice(0, 5))).toEqual({ statuses: new Set([401]), lookups: 5 })
    expect(await lookups(tokens.slice(5))).toEqual({ statuses: new Set([429]), lookups: 0 })
    const keys = tokens.map((token) => createHash('sha256').update(token).digest('base64url'))
    expect(await redis.exists(...keys.map((key) => `rate-limit:general:token:${key}`))).toBe(0)
  } finally {
    redis.disconnect()
    await Promise.all(replicas.splice(0).map((replica) => replica.stop()))
    await tap.stop()
  }
})

test('log-ins and sign-ups of one address share a limit, however many accounts they try', async () => {
  await start({ RATE_LIMIT_PER_MINUTE: '40' })
  const address = newAddress()
  const tries = many(16, (i) => {
    const credentials = { email: `${randomUUID()}@example.com`, password }
    if (i % 2) return client(address).post('/v1/session', credentials)
    return client(address).post('/v1/users', { ...credentials, name: 'Ann' })
  })
  const counts = await statuses(tries)
  expect(counts[429]).toBe(6)
  expect((counts[401] ?? 0) + (counts[201] ?? 0)).toBe(10)
})

test('an address that asks for too many mails uses up none of those of an account', async () => {
  await start({ RATE_LIMIT_PER_MINUTE: '40' }) // 10 log-ins, sign-ups and mails a minute
  const [address, { email }] = [newAddress(), await signUp()]
  const user = client(newAddress())
  await user.logIn(email, password)
  const reset = (from: string, email: string) => client(from).post('/v1/password-resets', { email })
  expect(await statuses(many(10, () => reset(address, `${randomUUID()}@example.com`)))).toEqual({ 202: 10 })
  expect(await statuses(many(6, () => reset(address, email)))).toEqual({ 429: 6 })
  expect(await statuses(many(6, () => at(address, user).post('/v1/email-verifications')))).toEqual({ 429: 6 })
  expectStatus(await reset(newAddress(), email), 202)
  expectStatus(await at(newAddress(), user).post('/v1/email-verifications'), 202)
})

test('log-ins of known devices at one address have a limit too, however many accounts they know', async () => {
  await start({ RATE_LIMIT_PER_MINUTE: '16' }) // 4 log-ins a minute
  const users = await Promise.all(
    many(6, async () => {
      const account = await signUp()
      const owner = client(newAddress())
      await owner.logIn(account.email, password)
      return { owner, account }
    }),
  )
  const address = newAddress()
  const logIns = users.map(({ owner, account }) => at(address, owner).post('/v1/session', account))
  expect(await statuses(logIns)).toEqual({ 200: 4, 429: 2 })
})

test('a stranger cannot lock the owner out: 100 failures an hour, and known devices and addresses are counted apart', async () => {
  await start()
  const home = newAddress()
  const { email } = await signUp()
  const owner = client(home)
  await owner.logIn(email, password)

  let counts: Record<number, number> = {}
  for (let batch = 0; batch < 6; batch++) {
    const wrong = many(20, () => client(newAddress()).post('/v1/session', { email, password: 'wrong horse' }))
    for (const [status, count] of Object.entries(await statuses(wrong))) {
      counts = { ...counts, [status]: (counts[Number(status)] ?? 0) + count }
    }
  }
  expect(counts).toEqual({ 401: 100, 429: 20 })
  const stranger = await client(newAddress()).post('/v1/session', { email, password })
  expect(stranger).toMatchObject({ status: 429, body: { code: 'E_RATE_LIMITED' } })
  expect(Number(stranger.headers['retry-after'])).toBeGreaterThan(3000)
  expect((await at(newAddress(), owner).post('/v1/session', { email, password })).status).toBe(200) // its device
  expect((await client(home).post('/v1/session', { email, password })).status).toBe(200) // its address
  const other = await signUp()
  expect((await at(newAddress(), owner).post('/v1/session', other)).status).toBe(200) // for this account it is a stranger
})

test('a log-in whose password was not looked at uses no try up', async () => {
  await start()
  const [address, account] = [newAddress(), await signUp()]
  const logIn = () => client(address).post('/v1/session', account)
  await postgres.query('ALTER TABLE users RENAME TO users_elsewhere')
  try {
    for (const _ of many(8, () => undefined)) expect((await logIn()).status).toBe(500)
  } finally {
    await postgres.query('ALTER TABLE users_elsewhere RENAME TO users')
  }
  expectStatus(await logIn(), 200)
})

test('those who guess at the same address do not use up the tries of a device that logged in before', async () => {
  await start({ RATE_LIMIT_PER_MINUTE: '40' }) // 10 log-ins a minute
  const address = newAddress()
  const { email } = await signUp()
  const owner = client(address)
  await owner.logIn(email, password)
  const wrong = (who: Client) => who.post('/v1/session', { email, password: 'wrong horse' })
  expect(await statuses(many(12, () => wrong(client(address))))).toMatchObject({ 401: 4 })
  expect((await client(address).post('/v1/session', { email, password })).status).toBe(429)
  expect((await at(address, owner).post('/v1/session', { email, password })).status).toBe(200)
  expect(await statuses(many(6, () => wrong(at(address, owner))))).toEqual({ 401: 4, 429: 2 }) // its own five
})

test('40 sign-ups and then 40 log-ins at once from one address succeed', async () => {
  await start()
  const address = newAddress()
  const users = many(40, () => ({ email: `${randomUUID()}@example.com`, password }))
  const signUps = users.map((user) => client(address).post('/v1/users', { ...user, name: 'Ann' }))
  expect(await statuses(signUps)).toEqual({ 201: 40 })
  expect(await statuses(users.map((user) => client(address).post('/v1/session', user)))).toEqual({ 200: 40 })
})

test('nothing is hashed for clients that are gone', async () => {
  await start()
  const url = `http://127.0.0.1:${replicas[0]?.port()}/v1/users`
  const address = newAddress()
  const send = (email: string, signal?: AbortSignal) =>
    fetch(url, {
      method: 'POST',
      body: JSON.stringify({ email, password, name: 'Ann' }),
      headers: { 'content-type': 'application/json', 'x-forwarded-for': address },
      signal,
    })
  const clients = new AbortController()
  const domain = `${randomUUID()}.example.com`
  const sent = many(30, (i) => send(`${i}@${domain}`, clients.signal))
  expect((await Promise.race(sent)).status).toBe(201)
  clients.abort()
  await Promise.allSettled(sent)
  await expect // it waits in the same queue, behind what was sent before
    .poll(async () => (await send(`${randomUUID()}@last.${domain}`)).status, { timeout: 10_000 })
    .toBe(201)
  const { rowCount } = await postgres.query('SELECT FROM users WHERE email LIKE $1', [`%@${domain}`])
  expect(rowCount).toBeLessThan(20)
})

test('an old hash is renewed at log-in, once every replica can verify the new form', async () => {
  const hashOf = async (email: string) => {
    const { rows } = await postgres.query<{ hash: string }>(
      'SELECT password_hash AS hash FROM users WHERE lower(email) = lower($1)',
      [email],
    )
    return rows[0]?.hash
  }
  const addOld = async () => {
    const email = `${randomUUID()}@example.com`
    const hash = await scrypt({ cost: 2 ** 14, blockSize: 8, parallelization: 1 }).hash(password)
    await postgres.query('INSERT INTO users (id, email, name, password_hash) VALUES ($1, $2, $3, $4)', [
      randomUUID(),
      email,
      'Ann',
      hash,
    ])
    return { email, password }
  }
  const older = randomUUID()
  await postgres.query(
    `INSERT INTO replicas (incarnation, id, role, version, scopes, secret_fingerprints, schedules, ttl_ms, pool_size, admitted,
       clock_offset_ms, started_at, heartbeat_at)
     SELECT $1, 'older', 'api', '0.1.0', '{}', secret_fingerprints, '{}', 600000, 0, true, 0, now(), now()
     FROM (SELECT '{}'::text[] AS secret_fingerprints) AS none`,
    [older],
  )
  await start({ HEARTBEAT_MS: '100', ALLOW_SECRET_SPLIT: '1' })
  const [before, after] = [await addOld(), await addOld()]
  expectStatus(await client(newAddress()).post('/v1/session', before), 200)
  expect(await hashOf(before.email)).toMatch(/^\$scrypt\$ln=15,r=8,p=3\$/)
  expect(await hashOf((await signUp()).email)).toMatch(/^\$scrypt\$ln=15,r=8,p=3\$/)
  await postgres.query('DELETE FROM replicas WHERE incarnation = $1', [older])
  await expect
    .poll(async () => hashOf((await signUp()).email), { timeout: 10_000 })
    .toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/)
  await Promise.all(
    replicas.map(async (_, i) => {
      const user = i === 0 ? after : i === 1 ? before : await addOld()
      await expect
        .poll(
          async () => {
            expectStatus(await client(newAddress()).post('/v1/session', user), 200)
            return hashOf(user.email)
          },
          { timeout: 10_000 },
        )
        .toMatch(/^\$argon2id\$/)
    }),
  )
  expectStatus(await client(newAddress()).post('/v1/session', after), 200)
})
