import { randomUUID } from 'node:crypto'
import { addAccount, setRole } from '@escala/accounts/accounts'
import { seedAccounts } from '@escala/accounts/seed'
import { readConfig } from '@escala/kit/config/config'
import { createLog } from '@escala/kit/log/log'
import { kitMigrations, migrate, migrationsOf } from '@escala/kit/postgres/migrations'
import { createPostgres } from '@escala/kit/postgres/postgres'
import { createClient } from '@escala/testing/client'
import { type FaultProxy, startFaultProxy } from '@escala/testing/fault-proxy'
import { createTestDatabase } from '@escala/testing/test-database'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { type Api, apiConfigSettings, compose } from './compose.ts'
import { dataModules, flagsRole } from './modules.ts'
import { onLoopback } from './test-replica.ts'

const log = createLog({ service: 'test', replicaId: 'test', version: '0', level: 'silent' })
const database = await createTestDatabase(inject('postgresUrl'))
const postgres = createPostgres({
  url: database.url,
  log,
  applicationName: 'test',
  maxConnections: 2,
  timeoutMs: 5000,
})
const replicas: Api[] = []
let proxy: FaultProxy

beforeAll(async () => {
  const folders = [kitMigrations, ...dataModules.map(migrationsOf)]
  await migrate({ url: database.url, folders, log })
  await seedAccounts(postgres, 'password of the seeds', flagsRole)
  proxy = await startFaultProxy({ target: `${inject('redisUrl')}/9` }) // a numbered database of its own, since files share limits otherwise
  for (const id of ['one', 'two']) {
    const env = {
      REPLICA_ID: id,
      DATABASE_URL: database.url,
      REDIS_URL: proxy.url,
      CACHE_REDIS_URL: `${inject('redisUrl')}/9`,
      ...onLoopback,
      // How fast a busy machine answers is not what these tests are about.
      REDIS_TIMEOUT_MS: '5000',
      MAX_LOOP_DELAY_MS: '10000',
    }
    const replica = await compose(readConfig(env, apiConfigSettings))
    replicas.push(replica)
    await replica.start()
  }
})

afterAll(async () => {
  await Promise.all(replicas.map((replica) => replica.stop()))
  await proxy.stop()
  await postgres.stop()
  await database.drop()
})

const client = (replica = 0, headers?: Record<string, string>) =>
  createClient(`http://127.0.0.1:${replicas[replica]?.port()}`, { headers })
const newEmail = () => `${randomUUID()}@Example.com`
const password = 'correct horse'

test('sign up, log in, read, log out', async () => {
  const ann = client()
  const email = newEmail()
  const signUp = await ann.post('/v1/users', { email, password, name: ' Ann ' })
  expect(signUp).toMatchObject({ status: 201, body: { id: expect.any(String), email, name: 'Ann' } })
  expect(Object.keys(signUp.body)).toEqual(['id', 'email', 'name'])
  expect((await ann.get('/v1/session')).body.code).toBe('E_NOT_LOGGED_IN')

  const logIn = await ann.post('/v1/session', { email: email.toLowerCase(), password })
  expect(logIn).toMatchObject({ status: 200, body: { user: signUp.body } })
  const elsewhere = client(1, { cookie: `sid=${ann.cookies.get('sid')}` })
  expect(await elsewhere.get('/v1/session')).toMatchObject({ status: 200, body: { user: signUp.body } })
  expect(await elsewhere.delete('/v1/session')).toMatchObject({ status: 204, body: undefined })
  expect(await ann.get('/v1/session')).toMatchObject({ status: 401, body: { code: 'E_NOT_LOGGED_IN' } })
  expect((await ann.delete('/v1/session')).status).toBe(204)
})

test('one account for one address, whatever the letter case, also at once on both replicas', async () => {
  const email = newEmail()
  const answers = await Promise.all(
    [email, email.toUpperCase(), email.toLowerCase(), email].map((given, i) =>
      client(i % 2).post('/v1/users', { email: given, password, name: 'Ann' }),
    ),
  )
  expect(answers.map(({ status }) => status).sort()).toEqual([201, 409, 409, 409])
  expect(answers.find(({ status }) => status === 409)?.body.code).toBe('E_EMAIL_TAKEN')
})

test('a password may have 200 characters of any kind', async () => {
  const long = `🔑${'pässwörd 密码 '.repeat(20)}`.slice(0, 200)
  const email = newEmail()
  expect((await client().post('/v1/users', { email, password: long, name: 'Ann' })).status).toBe(201)
  expect((await client().post('/v1/session', { email, password: long })).status).toBe(200)
  expect((await client().post('/v1/session', { email, password: long.slice(0, 199) })).status).toBe(401)
  expect((await client().post('/v1/users', { email, password: `${long}xx`, name: 'Ann' })).status).toBe(400)
})

test('a taken address is no error to Postgres, which would write it into its log', async () => {
  const email = newEmail()
  const profile = { name: 'Ann', passwordHash: '' }
  await postgres.transaction(async (tx) => {
    expect(await addAccount(tx, { ...profile, email })).toMatchObject({ email })
    expect(await addAccount(tx, { ...profile, email: email.toUpperCase() })).toBeUndefined()
    await tx.query('SELECT 1') // an error would have ended the transaction
  })
})

test.each([
  [{ email: 'nobody', password, name: 'Ann' }, ['email']],
  [{ email: 'a@example.com', password: 'short', name: 'Ann' }, ['password']],
  [{ email: 'a@example.com', password, name: 'A\u0000nn' }, ['name']],
  [{ email: 'a@example.com', password: 'correct\u0000horse', name: 'Ann' }, ['password']],
  [{ email: 'a@example.com', password: 'correct\ud83dhorse', name: 'Ann\udd11' }, ['name', 'password']], // halves of one character
  [{ email: 'a@example.com\u0000', password, name: 'Ann' }, ['email']],
  [{ email: 'a@example.com', password, name: 'Ann', role: 'organiser' }, ['role']],
  [{ email: 'a@example.com', password: 'PassWord', name: 'Ann' }, ['password']], // among the most common ones, as the next
  [{ email: 'a@example.com', password: '12345678', name: 'Ann' }, ['password']],
  [{ email: 'ann.lee@example.com', password: 'Ann.Lee-1990!', name: 'Ann' }, ['password']],
  [{ email: 'ann.lee@example.com', password: 'ann.lee@example.com', name: 'Ann' }, ['password']],
  [{ email: 'a@example.com', password: 'Annabelle Lee', name: 'annabelle lee' }, ['password']],
  [{}, ['email', 'name', 'password']],
])('refuses %j', async (body, fields) => {
  const answer = await client().post('/v1/users', body)
  expect(answer).toMatchObject({ status: 400, body: { code: 'E_VALIDATION' } })
  expect(Object.keys(answer.body.fields).sort()).toEqual(fields)
})

test('a wrong password and an unknown user look the same', async () => {
  const email = newEmail()
  await client().post('/v1/users', { email, password, name: 'Ann' })
  const wrong = await client().post('/v1/session', { email, password: 'wrong horse' })
  const unknown = await client().post('/v1/session', { email: newEmail(), password })
  expect(wrong).toMatchObject({ status: 401, body: { code: 'E_BAD_CREDENTIALS' } })
  const { requestId: _, ...rest } = unknown.body
  expect(wrong.body).toMatchObject(rest)
})

test('five tries a minute for one account from one address, over both replicas', async () => {
  const email = newEmail()
  const attempt = (i: number, given: string, address: string) =>
    client(i % 2, { 'x-forwarded-for': address }).post('/v1/session', { email: given, password: 'wrong horse' })
  const answers = await Promise.all(
    Array.from({ length: 12 }, (_, i) => attempt(i, i % 3 ? email : email.toUpperCase(), '192.0.2.1')),
  )
  expect(answers.filter(({ status }) => status === 401)).toHaveLength(5)
  const refused = answers.filter(({ status }) => status === 429)
  expect(refused).toHaveLength(7)
  expect(refused[0]?.body.code).toBe('E_RATE_LIMITED')
  expect(Number(refused[0]?.headers['retry-after'])).toBeGreaterThan(0)
  expect((await attempt(0, email, '192.0.2.2')).status).toBe(401)
  expect((await attempt(0, newEmail(), '192.0.2.1')).status).toBe(401)
})

test('seeds log in; a changed password replaces the old one; a role can be given', async () => {
  await seedAccounts(postgres, 'another password', flagsRole)
  const email = 'organiser@example.com'
  expect((await client().post('/v1/session', { email, password: 'password of the seeds' })).status).toBe(401)
  const organiser = client()
  await organiser.logIn(email, 'another password')
  expect((await organiser.get('/v1/flags')).status).toBe(200)
  const customer = client()
  await customer.logIn('customer@example.com', 'another password')
  expect((await customer.get('/v1/flags')).body.code).toBe('E_FORBIDDEN')
  expect(await setRole(postgres, 'Customer@Example.com', 'organiser')).toBe(true)
  expect((await customer.get('/v1/flags')).status).toBe(200)
  expect(await setRole(postgres, newEmail(), 'organiser')).toBe(false)
  expect(await setRole(postgres, 'customer@example.com', null)).toBe(true)
  expect((await customer.get('/v1/flags')).body.code).toBe('E_FORBIDDEN')
})

test('the database takes the name of any role, what the version before writes, and no role', async () => {
  const { email } = await client().signUp()
  const roleOf = async () => (await postgres.query('SELECT role FROM users WHERE email = $1', [email])).rows[0]?.role
  expect(await roleOf()).toBe(null)
  for (const role of ['customer', 'organiser', 'a-role-of-a-module']) {
    expect(await setRole(postgres, email, role)).toBe(true)
    expect(await roleOf()).toBe(role)
  }
})

test('the session of a deleted user ends with its next request', async () => {
  for (const path of ['/v1/session', '/v1/flags']) {
    const ann = client()
    const { id, email } = await ann.signUp()
    await ann.logIn(email, 'a password of a lab')
    const cookie = { cookie: `sid=${ann.cookies.get('sid')}` }
    await postgres.query('DELETE FROM users WHERE id = $1', [id])
    expect(await ann.get(path)).toMatchObject({ status: 401, body: { code: 'E_NOT_LOGGED_IN' } })
    await postgres.query("INSERT INTO users (id, email, name, password_hash) VALUES ($1, $2, 'Ann', '')", [id, email])
    expect((await client(1, cookie).get('/v1/session')).status).toBe(401) // ended, not only unknown
  }
})

test('a flag takes no text that Postgres cannot store', async () => {
  const organiser = client()
  await organiser.logIn('organiser@example.com', 'another password')
  for (const value of ['a\u0000b', 'a\nb']) {
    expect(await organiser.put('/v1/flags/any', { value })).toMatchObject({
      status: 400,
      body: { code: 'E_VALIDATION' },
    })
  }
})

test('an authenticated request waits for Redis once', async () => {
  const ann = client()
  const { email } = await ann.signUp()
  await ann.logIn(email, 'a password of a lab')
  proxy.delay(100)
  const times: number[] = []
  for (let i = 0; i < 5; i++) {
    const began = performance.now()
    expect((await ann.get('/v1/session')).status).toBe(200)
    times.push(performance.now() - began)
  }
  const ms = Math.min(...times) // a busy machine only adds
  proxy.delay(0)
  expect(ms).toBeGreaterThan(200) // there and back
  expect(ms).toBeLessThan(390) // twice would be 400
})

test('without Redis: public reads 200, sign-up 201 with a cookie too, log-in and everything that needs a session 503', async () => {
  const ann = client()
  const { email } = await ann.signUp()
  await ann.logIn(email, 'a password of a lab')
  await proxy.refuse()
  const code = async (answer: Promise<{ status: number; body: { code?: string } }>) => {
    const { status, body } = await answer
    return [status, body?.code]
  }
  const unavailable = [503, 'E_REDIS_UNAVAILABLE']
  expect(await code(ann.get('/v1/session'))).toEqual(unavailable)
  expect(await code(ann.delete('/v1/session'))).toEqual(unavailable)
  expect(await code(client().post('/v1/session', { email, password }))).toEqual(unavailable)
  for (const anybody of [client(), ann]) {
    expect((await anybody.post('/v1/users', { email: newEmail(), password, name: 'Ann' })).status).toBe(201)
  }
  expect((await ann.get('/v1/openapi.json')).status).toBe(200)
  await proxy.heal()
  await expect.poll(async () => (await ann.get('/v1/session')).status, { timeout: 5000 }).toBe(200)
})
