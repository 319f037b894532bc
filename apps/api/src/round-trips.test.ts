import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readConfig } from '@escala/kit/config/config'
import { type Client, type ClientAnswer, createClient, expectStatus } from '@escala/testing/client'
import { createDriver } from '@escala/testing/environment'
import { seedPassword, templateDatabase } from '@escala/testing/template'
import { createTestDatabase } from '@escala/testing/test-database'
import { startWireTap, type Traffic, type WireTap } from '@escala/testing/wire-tap'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest'
import { type Api, apiConfigSettings, compose } from './compose.ts'
import { onLoopback } from './test-replica.ts'

// Holds docs/round-trips.md to what the servers really get. When it fails, it prints the table as it should be.
const page = new URL('../../../docs/round-trips.md', import.meta.url)

interface Row extends Traffic {
  route: string
  when: string
}

const stops: (() => Promise<unknown>)[] = []
let tap: WireTap
const redis: Record<string, Redis> = {}
let replicas: Api[]
let rows: Row[]

beforeAll(async () => {
  // Redis of its own: what other tests publish would be heard here.
  const driver = await createDriver(inject('driver'))
  const folder = await mkdtemp(join(tmpdir(), 'escala-trips-'))
  stops.push(() => rm(folder, { recursive: true, force: true }))
  const startRedis = async (name: string) => {
    const server = await driver.startRedis(join(folder, name), {})
    const client = new Redis(server.url)
    redis[name] = client
    stops.push(server.stop, async () => client.disconnect())
    return server.url
  }
  const [redisUrl, cacheRedisUrl] = await Promise.all([startRedis('state'), startRedis('cache')])
  const template = await templateDatabase(inject('postgresUrl'))
  const database = await createTestDatabase(inject('postgresUrl'), { template })
  stops.push(database.drop)
  tap = await startWireTap({ databaseUrl: database.url, redisUrl, cacheRedisUrl })
  stops.push(tap.stop)
  replicas = [await startReplica('one'), await startReplica('two')]
  // Whether an entry is still fresh in the process must not depend on how fast this machine is today.
  vi.useFakeTimers({ toFake: ['performance'] })
  await measure() // servers learn the scripts, connections their statements
  rows = await measure()
})

afterAll(async () => {
  vi.useRealTimers()
  for (const stop of stops.reverse()) await stop()
})

/** Everything that a replica does by itself is put off until after the test. */
async function startReplica(id: string): Promise<Api> {
  const env = {
    REPLICA_ID: id,
    DATABASE_URL: tap.databaseUrl,
    REDIS_URL: tap.redisUrl,
    CACHE_REDIS_URL: tap.cacheRedisUrl,
    ...onLoopback,
    HEARTBEAT_MS: '60000',
    REDIS_TIMEOUT_MS: '10000',
    DATABASE_TIMEOUT_MS: '10000',
    MAX_LOOP_DELAY_MS: '10000',
    RATE_LIMIT_PER_MINUTE: '100000',
  }
  const api = await compose(readConfig(env, apiConfigSettings))
  await api.start()
  stops.push(api.stop)
  return api
}

/** What modules add to an export and to a deletion. */
let ofModules: string[]

/** Takes the statements of modules from a row, and returns them: the page has those of accounts and of the kit. */
function leaveOutModules(row?: Row): string[] {
  const { own = [], added = [] } = Object.groupBy(row?.statements ?? [], (name) =>
    /^(users\.|idempotency-|BEGIN$|COMMIT$)/.test(name) ? 'own' : 'added',
  )
  if (row) row.statements = own
  return added
}

// sample
/** Takes the last command, and its wait, from a row: the one for the records that the module keeps beside a session. */
function leaveOutRecords(row: Row | undefined, command: string): void {
  const at = row?.commands.lastIndexOf(command) ?? -1
  if (!row || at < 0) return
  row.commands.splice(at, 1)
  row.waits--
}
// /sample

/** Every row of the table, in its order. */
async function measure(): Promise<Row[]> {
  ofModules = []
  const measured: Row[] = []
  const { state } = redis as { state: Redis }
  const count = async <T>(route: string, when: string, work: () => Promise<T>): Promise<T> => {
    const { result, ...traffic } = await tap.count(work)
    measured.push({ route, when, ...traffic })
    return result
  }
  const row = async (route: string, when: string, status: number, call: () => Promise<ClientAnswer>) =>
    expectStatus(await count(route, when, call), status)
  const [replica] = replicas as [Api]
  const url = `http://127.0.0.1:${replica.port()}`
  // Each an address of its own: log-ins are counted by it.
  const client = (at = url) => createClient(at, { headers: { 'x-forwarded-for': randomAddress() } })
  const loggedIn = async (email?: string) => {
    const user = client()
    if (email) await user.logIn(email, seedPassword)
    else {
      const { email, password } = await user.signUp()
      await user.logIn(email, password)
    }
    return user
  }
  const organiser = await loggedIn('organiser@example.com')
  const ann = await loggedIn()
  const nobody = client()

  const newcomer = client()
  const email = `${randomUUID()}@example.com`
  const account = { email, password: 'correct horse', name: 'Ann' }
  const credentials = { email, password: 'correct horse' }
  await row('POST /v1/users', 'a new address', 201, () => newcomer.post('/v1/users', account))
  await row('POST /v1/users', 'the address is taken', 409, () => newcomer.post('/v1/users', account))
  await row('POST /v1/users', 'invalid', 400, () => newcomer.post('/v1/users', {}))
  await row('POST /v1/session', 'the first log-in', 200, () => newcomer.post('/v1/session', credentials))
  await row('POST /v1/session', 'logged in already', 200, () => newcomer.post('/v1/session', credentials))
  const wrong = { ...credentials, password: 'wrong horse' }
  await row('POST /v1/session', 'wrong password', 401, () => newcomer.post('/v1/session', wrong))
  for (let tries = 3; tries <= 5; tries++) await newcomer.post('/v1/session', wrong)
  await row('POST /v1/session', 'the sixth try in a minute', 429, () => newcomer.post('/v1/session', wrong))
  await row('GET /v1/session', 'logged in', 200, () => ann.get('/v1/session'))
  await state.pexpire(sessionKey(ann), 3_600_000)
  await row('GET /v1/session', 'logged in, touch due', 200, () => ann.get('/v1/session'))
  expect(await state.pttl(sessionKey(ann))).toBeGreaterThan(23 * 3_600_000)
  await row('GET /v1/session', 'no cookie', 401, () => nobody.get('/v1/session'))
  const ended = client()
  for (const [name, value] of newcomer.cookies) ended.cookies.set(name, value)
  await row('DELETE /v1/session', 'logged in', 204, () => newcomer.delete('/v1/session'))
  await row('DELETE /v1/session', 'no cookie', 204, () => nobody.delete('/v1/session'))
  await row('GET /v1/session', 'logged out, with the old cookie', 401, () => ended.get('/v1/session'))
  const [mine, another] = [await loggedIn(), client()]
  const { email: myEmail } = (await mine.get('/v1/session')).body.user
  await another.logIn(myEmail, 'a password of a lab')
  const { body } = await row('GET /v1/sessions', 'two sessions', 200, () => mine.get('/v1/sessions'))
  const { id: ofAnother } = body.items.find(({ current }: { current: boolean }) => !current)
  await row('DELETE /v1/sessions/:id', 'another one', 204, () => mine.delete(`/v1/sessions/${ofAnother}`))
  await row('DELETE /v1/sessions/:id', 'there is none', 404, () => mine.delete(`/v1/sessions/${randomUUID()}`))
  await row('DELETE /v1/sessions', 'one session', 204, () => mine.delete('/v1/sessions'))
  const changing = await loggedIn()
  const newPassword = { current: 'a password of a lab', password: 'another password' }
  await row('PUT /v1/password', 'no other session', 204, () => changing.put('/v1/password', newPassword))
  const { email: knownEmail } = (await changing.get('/v1/session')).body.user
  const unknownEmail = `${randomUUID()}@example.com`
  const reset = (email: string) => nobody.post('/v1/password-resets', { email })
  await row('POST /v1/password-resets', 'the address is known', 202, () => reset(knownEmail))
  await row('POST /v1/password-resets', 'the address is unknown', 202, () => reset(unknownEmail))
  const wrongToken = { token: 'none', password: 'another password' }
  await row('PUT /v1/password-resets', 'an unknown token', 400, () => nobody.put('/v1/password-resets', wrongToken))
  await row('POST /v1/email-verifications', 'logged in', 202, () => ann.post('/v1/email-verifications'))
  await row('PUT /v1/email-verifications', 'an unknown token', 400, () =>
    nobody.put('/v1/email-verifications', { token: 'none' }),
  )
  const unknownScope = { name: 'CI', scopes: ['none'] }
  await row('POST /v1/tokens', 'an unknown scope', 400, () => ann.post('/v1/tokens', unknownScope))
  await row('GET /v1/tokens', 'no token', 200, () => ann.get('/v1/tokens'))
  await row('DELETE /v1/tokens/:id', 'there is none', 404, () => ann.delete(`/v1/tokens/${randomUUID()}`))
  const leaving = await loggedIn()
  await row('GET /v1/me/export', 'one session', 200, () => leaving.get('/v1/me/export'))
  ofModules.push(...leaveOutModules(measured.at(-1)))
  // sample
  leaveOutRecords(measured.at(-1), 'HGETALL')
  // /sample
  await row('DELETE /v1/me', 'one session', 204, () => leaving.delete('/v1/me'))
  ofModules.push(...leaveOutModules(measured.at(-1)))
  // sample
  leaveOutRecords(measured.at(-1), 'DEL')
  // /sample
  const worthless = { authorization: `Bearer escala_${'x'.repeat(43)}` }
  await row('GET /v1/session', 'with an unknown token', 401, () => nobody.get('/v1/session', undefined, worthless))
  const limited = await loggedIn()
  await state.set(`rate-limit:general:${sessionId(limited)}`, 100_000, 'PX', 60_000)
  await row('GET /v1/session', 'over the limit', 429, () => limited.get('/v1/session'))
  await row('GET /v1/flags', 'organiser', 200, () => organiser.get('/v1/flags'))
  await row('GET /v1/flags', 'not an organiser', 403, () => ann.get('/v1/flags'))
  await row('PUT /v1/flags/:name', 'an unknown flag', 404, () => organiser.put('/v1/flags/none', { value: true }))
  await row('GET /v1/openapi.json', 'anyone', 200, () => nobody.get('/v1/openapi.json'))
  await row('GET /docs/', 'anyone', 200, () => nobody.get('/docs/'))
  await row('any other path', 'anyone', 404, () => nobody.get('/v1/nothing'))
  const inside = createClient(`http://127.0.0.1:${replica.internalPort()}`)
  for (const path of ['/livez', '/readyz', '/metrics', '/scale']) {
    await row(`GET ${path}`, 'internal port', 200, () => inside.get(path))
  }

  // sample
  const [, other] = replicas as [Api, Api]
  const { cache } = redis as { cache: Redis }
  const bob = await loggedIn()
  await row('PUT /v1/flags/salesOpen', 'two replicas hear of it', 200, () =>
    organiser.put('/v1/flags/salesOpen', { value: true }),
  )
  const startsAt = '2030-01-01T20:00:00.000Z'
  const input = { name: 'Gig', startsAt, priceCents: 1000, currency: 'EUR', capacity: 3 }
  const addShow = async () => `/v1/shows/${expectStatus(await organiser.post('/v1/shows', input), 201).body.id}`
  const keyOf = (kind: string, show: string) => `escala:cache:{${kind}:${show.split('/')[3]}}`
  const later = Date.now() + 600_000 // by the clock of Redis, and whatever time this takes
  const stayAvailable = async (show: string) => {
    const entry = { d1: '{"available":3,"revision":0}', v: 0, f1: later, u1: later }
    await cache.hset(keyOf('available', show), entry)
    await cache.persist(keyOf('available', show))
  }
  const list = await row('GET /v1/shows', 'first page', 200, () => nobody.get('/v1/shows?limit=1'))
  await row('GET /v1/shows', 'next page', 200, () => nobody.get(`/v1/shows?limit=1&cursor=${list.body.nextCursor}`))
  const show = await addShow()
  await row('POST /v1/shows', 'organiser', 201, () => organiser.post('/v1/shows', input))
  await row('POST /v1/shows', 'with a key', 201, () =>
    organiser.post('/v1/shows', input, { 'idempotency-key': randomUUID() }),
  )
  await row('POST /v1/shows', 'not an organiser', 403, () => ann.post('/v1/shows', input))
  const elsewhere = client(`http://127.0.0.1:${other.port()}`)
  await tap.count(() => elsewhere.get(show))
  await stayAvailable(show)
  await row('GET /v1/shows/:id', 'known to another replica', 200, () => nobody.get(show))
  const known = await row('GET /v1/shows/:id', 'known here', 200, () => nobody.get(show))
  await row('GET /v1/shows/:id', 'known here, logged in', 200, () => ann.get(show))
  await row('GET /v1/shows/:id', 'known here, and to the client', 304, () =>
    nobody.get(show, undefined, { 'if-none-match': String(known.headers.etag) }),
  )
  vi.advanceTimersByTime(6000)
  expect(await cache.hset(keyOf('show', show), { f1: 1, u1: later })).toBe(0) // both fields were there
  await row('GET /v1/shows/:id', 'details are old: renewed after the response', 200, () => nobody.get(show))
  const unknown = await addShow()
  await row('GET /v1/shows/:id', 'known to no replica', 200, () => nobody.get(unknown))
  vi.advanceTimersByTime(300)
  await cache.del(keyOf('available', unknown))
  await row('GET /v1/shows/:id', 'availability is older than 250 ms', 200, () => nobody.get(unknown))
  const missing = `/v1/shows/${randomUUID()}`
  await row('GET /v1/shows/:id', 'there is none', 404, () => nobody.get(missing))
  const change = (version: number, body: object) => () => organiser.patch(show, body, { 'if-match': `"${version}"` })
  await row('PATCH /v1/shows/:id', 'its price', 200, change(1, { priceCents: 1200 }))
  await row('PATCH /v1/shows/:id', 'its capacity', 200, change(2, { capacity: 2 }))
  await row('PATCH /v1/shows/:id', 'an old version', 412, change(1, { priceCents: 1 }))

  const key = randomUUID()
  const order = (who: Client, key: string, quantity = 1) =>
    who.post(`${show}/orders`, { quantity }, { 'idempotency-key': key })
  const placed = await row('POST /v1/shows/:id/orders', 'placed', 201, () => order(ann, key))
  await row('POST /v1/shows/:id/orders', 'replayed', 201, () => order(ann, key))
  await row('POST /v1/shows/:id/orders', 'another order under the same key', 422, () => order(ann, key, 2))
  await row('POST /v1/shows/:id/orders', 'sold out', 409, () => order(ann, randomUUID(), 5))
  await row('POST /v1/shows/:id/orders', 'no key', 400, () => ann.post(`${show}/orders`, { quantity: 1 }))
  await row('POST /v1/shows/:id/orders', 'no cookie', 401, () => order(nobody, randomUUID()))
  const own = `/v1/orders/${placed.body.id}`
  await row('GET /v1/orders', 'logged in', 200, () => ann.get('/v1/orders'))
  const made = expectStatus(await ann.post('/v1/tokens', { name: 'CI', scopes: ['orders:read'] }), 201)
  const bearer = { authorization: `Bearer ${made.body.token}` }
  await row('GET /v1/orders', 'with a token', 200, () => nobody.get('/v1/orders', undefined, bearer))
  await row('GET /v1/orders/:id', 'logged in', 200, () => ann.get(own))
  await row('GET /v1/orders/:id', "another user's", 404, () => bob.get(own))
  await row('GET /v1/orders/:id', 'no cookie', 401, () => nobody.get(own))
  const { withClient } = await import('@escala/testing/test-database')
  const setStatus = (status: string) =>
    withClient(tap.databaseUrl, (sql) => sql.query('UPDATE orders SET status = $1', [status]))
  await setStatus('charging')
  await row('DELETE /v1/orders/:id', 'being charged', 409, () => ann.delete(own))
  await setStatus('paid')
  await row('DELETE /v1/orders/:id', 'paid', 200, () => ann.delete(own))
  await row('DELETE /v1/orders/:id', 'again', 200, () => ann.delete(own))
  const second = `/v1/orders/${expectStatus(await order(ann, randomUUID()), 201).body.id}`
  await row('DELETE /v1/orders/:id', 'pending', 200, () => ann.delete(second))

  const item = `/v1/cart/items/${show.split('/')[3]}`
  const visitor = client()
  await row('GET /v1/cart', 'no cookie', 200, () => visitor.get('/v1/cart'))
  await tap.count(() => nobody.get(show)) // known to this replica, as it is after a client has looked at it
  await row('PUT /v1/cart/items/:showId', 'begins a session', 200, () => visitor.put(item, { quantity: 2 }))
  await row('PUT /v1/cart/items/:showId', 'with a session', 200, () => visitor.put(item, { quantity: 1 }))
  await row('GET /v1/cart', 'with a session', 200, () => visitor.get('/v1/cart'))
  await row('PUT /v1/cart/items/:showId', 'logged in', 200, () => ann.put(item, { quantity: 1 }))
  await row('GET /v1/cart', 'logged in', 200, () => ann.get('/v1/cart'))

  const poster = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1')
  const headers = { cookie: `sid=${organiser.cookies.get('sid')}`, 'content-type': 'image/png' }
  await tap.count(() => nobody.get(show))
  const stored = await count('PUT /v1/shows/:id/poster', 'organiser, the show known here', () =>
    fetch(`${url}${show}/poster`, { method: 'PUT', headers, body: poster }),
  )
  expect(stored.status).toBe(200)
  await row('GET /v1/shows/:id/poster', 'there is one', 200, () => nobody.get(`${show}/poster`))
  const etag = String(stored.headers.get('etag'))
  await row('GET /v1/shows/:id/poster', 'known to the client', 304, () =>
    nobody.get(`${show}/poster`, undefined, { 'if-none-match': etag }),
  )
  await row('GET /v1/shows/:id/poster', 'there is none', 404, () => nobody.get(`${missing}/poster`))

  const listen = async (headers: Record<string, string> = {}) => {
    const stream = await fetch(`${url}${show}/live`, { headers, signal: AbortSignal.timeout(20_000) })
    const reader = (stream.body as ReadableStream<Uint8Array>).getReader()
    let text = ''
    while (!text.includes('data:')) text += Buffer.from((await reader.read()).value ?? '').toString()
    return { place: /id: (\S+)/.exec(text)?.[1] ?? '', stop: () => reader.cancel() }
  }
  await tap.count(() => nobody.get(show))
  const first = await count('GET /v1/shows/:id/live', 'the first listener here', () => listen())
  const further = await count('GET /v1/shows/:id/live', 'one more listener', () => listen())
  await tap.count(() => order(bob, randomUUID()))
  const back = await count('GET /v1/shows/:id/live', 'back, with its last event', () =>
    listen({ 'last-event-id': first.place }),
  )
  for (const { stop } of [first, further, back]) await stop()
  await row('GET /v1/reports/sales', 'organiser', 200, () => organiser.get('/v1/reports/sales'))
  // /sample
  return measured
}

const sessionId = (client: Client) => decodeURIComponent(client.cookies.get('sid') ?? '').replace(/^s:(.*)\..*$/, '$1')
const sessionKey = (client: Client) => `{session:${sessionId(client)}}`

function randomAddress(): string {
  return `10.${[1, 2, 3].map(() => Math.floor(Math.random() * 250) + 1).join('.')}`
}

const found = (route: string, when: string) => {
  const row = rows.find((row) => row.route === route && row.when === when)
  if (!row) throw new Error(`not measured: ${route}, ${when}`)
  return row
}

/** One route's rows together. */
const grouped = (rows: Row[]) => [...Map.groupBy(rows, ({ route }) => route).values()].flat()

test('docs/round-trips.md says what every route costs', () => {
  const cell = (names: string[]) => {
    const counts = new Map<string, number>()
    for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1)
    const list = [...counts].map(([name, count]) => (count === 1 ? `\`${name}\`` : `${count} × \`${name}\``))
    return [names.length, ...(list.length > 0 ? [list.join(', ')] : [])].join(': ')
  }
  const table = grouped(rows).map(
    ({ route, when, waits, commands, statements }) =>
      `| \`${route}\` | ${when} | ${waits} | ${cell(commands)} | ${cell(statements.sort())} |`,
  )
  const documented = readFileSync(page, 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('| `'))
  if (documented.join() !== table.join()) console.log(`The table of docs/round-trips.md:\n\n${table.join('\n')}\n`)
  expect(documented).toEqual(table)
})

/** What this page is about. The routes of other modules need no row. */
const counted = [
  undefined, // the application's own
  'accounts',
  // sample
  'tickets',
  // /sample
]

test('no route is missing', async () => {
  const answer = await fetch(`http://127.0.0.1:${replicas[0]?.port()}/v1/openapi.json`)
  const { paths } = (await answer.json()) as { paths: Record<string, Record<string, { tags?: string[] }>> }
  const routes = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([, { tags }]) => counted.includes(tags?.[0]))
      .map(([method]) => `${method.toUpperCase()} ${path.replace(/\{(\w+)\}/g, ':$1')}`),
  )
  expect(routes).toContain('GET /v1/session')
  expect(rows.map(({ route }) => route)).toEqual(expect.arrayContaining(routes))
})

test('within the budgets', () => {
  const own = found('GET /v1/session', 'logged in')
  expect(own).toMatchObject({ waits: 1, statements: ['users.byId'] })
  expect(own.commands).toHaveLength(2) // the session, and all limits
  expect(found('GET /v1/session', 'logged in, touch due')).toMatchObject({ waits: 1, commands: own.commands })
  expect(rows.filter(({ statements }) => statements.some((name) => name.startsWith('unnamed')))).toEqual([])
  // sample
  expect(ofModules).toEqual(['tickets-orders', 'tickets-orders-without-user'])
  expect(found('GET /v1/orders/:id', 'logged in')).toMatchObject({ waits: 1, statements: ['tickets-order'] })
  const cached = found('GET /v1/shows/:id', 'known here')
  expect(cached).toMatchObject({ waits: 1, commands: ['EVALSHA'], statements: [] })
  // With the key, the effect and the message in it, the show's row is locked for no round trip.
  expect(found('POST /v1/shows/:id/orders', 'placed').statements).toEqual(['tickets-order-place'])
  // /sample
})
