import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createShop, type Shop } from './test-shop.ts'

let shop: Shop
let organiser: string
let customer: string
beforeAll(async () => {
  shop = await createShop(inject('postgresUrl'))
  organiser = await shop.addUser('organiser')
  customer = await shop.addUser()
})
afterAll(() => shop?.stop())

const gig = { name: 'Gig', startsAt: '2030-05-01T20:00:00+02:00', priceCents: 2500, currency: 'EUR', capacity: 10 }
const add = (body: unknown = gig, userId: string | undefined = organiser) =>
  shop.send('POST', '/v1/shows', { userId, body })
const change = (id: string, body: unknown, version?: string, userId: string | undefined = organiser) =>
  shop.send('PATCH', `/v1/shows/${id}`, { userId, body, headers: version === undefined ? {} : { 'if-match': version } })

test('an organiser adds a show, and anyone can read it', async () => {
  const added = await add()
  expect(added.status).toBe(201)
  const { id } = added.body
  expect(added.headers.get('location')).toBe(`/v1/shows/${id}`)
  const show = { id, ...gig, startsAt: '2030-05-01T18:00:00.000Z', available: 10, version: 1 }
  expect(added.body).toEqual(show)
  expect((await shop.send('GET', `/v1/shows/${id}`, { replica: 1 })).body).toEqual(show)
})

test('neither a customer nor a visitor may add or change a show', async () => {
  const { id } = (await add()).body
  expect(await add(gig, customer)).toMatchObject({ status: 403, body: { code: 'E_FORBIDDEN' } })
  expect(await change(id, { priceCents: 1 }, '"1"', customer)).toMatchObject({ status: 403 })
  expect(await shop.send('POST', '/v1/shows', { body: gig })).toMatchObject({ status: 401 })
})

test.each([
  ['an unknown field', { ...gig, available: 99 }, 'available'],
  ['a price with a fraction', { ...gig, priceCents: 1.5 }, 'priceCents'],
  ['a currency that is none', { ...gig, currency: 'euro' }, 'currency'],
  ['no capacity', { ...gig, capacity: 0 }, 'capacity'],
  ['a time without a zone', { ...gig, startsAt: '2030-05-01T20:00:00' }, 'startsAt'],
  ['a blank name', { ...gig, name: '  ' }, 'name'],
  ['a name with NUL', { ...gig, name: 'a\u0000b' }, 'name'],
  ['a name with half of a character', { ...gig, name: 'a\ud83d' }, 'name'],
  ['a name of two lines', { ...gig, name: 'a\nb' }, 'name'],
  ['the year 10000 in UTC', { ...gig, startsAt: '9999-12-31T23:59:59-01:00' }, 'startsAt'],
  ['a year before 1970', { ...gig, startsAt: '1970-01-01T00:00:00+01:00' }, 'startsAt'],
  ['the year 0', { ...gig, startsAt: '0000-01-01T00:00:00Z' }, 'startsAt'],
])('%s is refused by name', async (_, body, field) => {
  const answer = await add(body)
  expect(answer).toMatchObject({ status: 400, body: { code: 'E_VALIDATION' } })
  expect(Object.keys(answer.body.fields)).toEqual([field])
})

test('one show for one key, at once over three replicas too; without a key, one for each request', async () => {
  const headers = { 'idempotency-key': 'first' }
  const send = (body: unknown, userId = organiser, replica = 0) =>
    shop.send('POST', '/v1/shows', { userId, body, headers, replica })
  const answers = await Promise.all(Array.from({ length: 12 }, (_, at) => send(gig, organiser, at % 3)))
  const made = answers.filter(({ status }) => status === 201)
  expect(made.length + answers.filter(({ status }) => status === 409).length).toBe(12)
  expect(new Set(made.map(({ body }) => body.id)).size).toBe(1)
  const again = await send(gig)
  expect(again).toMatchObject({ status: 201, body: made[0]?.body })
  expect(again.headers.get('idempotency-replayed')).toBe('true')
  expect(again.headers.get('location')).toBe(`/v1/shows/${again.body.id}`)
  expect((await shop.send('GET', `/v1/shows/${again.body.id}`)).body).toEqual(again.body)
  expect(await send({ ...gig, capacity: 11 })).toMatchObject({ status: 422, body: { code: 'E_IDEMPOTENCY_MISMATCH' } })
  expect((await send(gig, await shop.addUser('organiser'))).body.id).not.toBe(again.body.id)
  const added = await add()
  expect(Object.keys(added.body)).toEqual(Object.keys(again.body))
  expect(added.body.id).not.toBe((await add()).body.id)
})

const cursorOf = (...key: unknown[]) => Buffer.from(JSON.stringify(key)).toString('base64url')
const anyId = '01990000-0000-7000-8000-00000000ffff'
test.each([
  ['shows', 'x'],
  ['shows', '\u0000'],
  ['shows', cursorOf('0000-01-01T00:00:00.000Z', anyId)],
  ['shows', cursorOf('+300000-01-01T00:00:00.000Z', anyId)],
  ['shows', cursorOf('2030-02-40T00:00:00.000Z', anyId)],
  ['shows', cursorOf('2030-01-01T00:00:00.000Z\u0000', anyId)],
  ['shows', cursorOf('2030-01-01T00:00:00.000Z', '\u0000')],
  ['shows', cursorOf('infinity', anyId)],
  ['orders', cursorOf(1e300)],
  ['orders', cursorOf('\u0000')],
  ['orders', cursorOf(-1)],
  ['reports/sales', cursorOf('0000-01-01', anyId, 'EUR')],
  ['reports/sales', cursorOf('2030-01-01', anyId, '\u0000')],
])('GET /v1/%s with the cursor %j is a 400', async (path, cursor) => {
  const answer = await shop.send('GET', `/v1/${path}?cursor=${encodeURIComponent(cursor)}`, { userId: organiser })
  expect(answer).toMatchObject({ status: 400, body: { code: 'E_VALIDATION' } })
  expect(Object.keys(answer.body.fields)).toEqual(['query.cursor'])
})

test('a list shows what an earlier version let in, and pages over it', async () => {
  const ids = ['01990000-0000-7000-8000-00000000fff1', '01990000-0000-7000-8000-00000000fff2']
  for (const id of ids) {
    await shop.postgres.query(
      `INSERT INTO shows (id, name, starts_at, price_cents, currency, capacity, available)
        VALUES ($1, E'two\nlines', '10000-01-01T00:59:59Z', 1, 'EUR', 1, 1)`,
      [id],
    )
  }
  const seen: string[] = []
  for (let cursor: string | null = ''; cursor !== null; ) {
    const page = await shop.send('GET', `/v1/shows?limit=1${cursor && `&cursor=${cursor}`}`)
    expect(page.status).toBe(200)
    seen.push(page.body.items[0].id)
    cursor = page.body.nextCursor
  }
  expect(seen.slice(-2)).toEqual(ids)
  expect((await shop.send('GET', `/v1/shows/${ids[0]}`)).body.startsAt).toBe('+010000-01-01T00:59:59.000Z')
  await shop.postgres.query('DELETE FROM shows WHERE id = ANY ($1)', [ids])
})

test('a show that does not exist is 404, an id that is none 400', async () => {
  expect(await shop.send('GET', '/v1/shows/01990000-0000-7000-8000-00000000ffff')).toMatchObject({ status: 404 })
  expect(await shop.send('GET', '/v1/shows/1')).toMatchObject({ status: 400, body: { code: 'E_VALIDATION' } })
})

test('the tag is of the whole answer: a sale changes it, and the version stays', async () => {
  const { id } = (await add()).body
  const read = (tag?: string) =>
    shop.send('GET', `/v1/shows/${id}`, { headers: tag === undefined ? {} : { 'if-none-match': tag } })
  const tag = (await read()).headers.get('etag') as string
  expect(await read(tag)).toMatchObject({ status: 304, body: undefined })
  expect(await read(`"other", W/${tag}`)).toMatchObject({ status: 304 })
  await shop.order(customer, id)
  expect(await read(tag)).toMatchObject({ status: 200, body: { available: 9, version: 1 } })
})

test('a change needs the version that was read', async () => {
  const { id } = (await add()).body
  expect(await change(id, { priceCents: 1 })).toMatchObject({ status: 428, body: { code: 'E_VERSION_MISSING' } })
  expect(await change(id, { priceCents: 1 }, '"2"')).toMatchObject({
    status: 412,
    body: { code: 'E_VERSION_MISMATCH' },
  })
  expect(await change(id, { priceCents: 1 }, '*')).toMatchObject({ status: 412 })
  expect(await change(id, { priceCents: 1 }, '"1"')).toMatchObject({ status: 200, body: { priceCents: 1, version: 2 } })
  expect(await change(id, {}, '"2"')).toMatchObject({ status: 400 })
  const missing = '01990000-0000-7000-8000-00000000ffff'
  expect(await change(missing, { priceCents: 1 }, '"1"')).toMatchObject({ status: 404 })
})

test('the ETag of any response is an If-Match, also after tickets were sold', async () => {
  const added = await add()
  const { id } = added.body
  const read = await shop.send('GET', `/v1/shows/${id}`)
  const tag = read.headers.get('etag') as string
  expect(tag).toMatch(/^"1-[\w-]+"$/)
  expect(added.headers.get('etag')).toBe(tag)
  await shop.order(customer, id)
  const changed = await change(id, { priceCents: 7 }, tag)
  expect(changed).toMatchObject({ status: 200, body: { priceCents: 7, version: 2, available: 9 } })
  expect((await change(id, { priceCents: 8 }, tag)).status).toBe(412)
  const now = changed.headers.get('etag') as string
  expect((await shop.send('GET', `/v1/shows/${id}`)).headers.get('etag')).toBe(now)
  expect((await change(id, { priceCents: 8 }, `"other", ${now}`)).status).toBe(200)
  const compressed = `W/${(await shop.send('GET', `/v1/shows/${id}`)).headers.get('etag')}`
  expect((await change(id, { priceCents: 9 }, compressed)).status).toBe(200)
})

test.each(['W/1-x', 'w/"1"', '"1', '1-x', '"-1"', '"1x"', '""', '"x-1"'])(
  'If-Match: %s matches no version',
  async (tag) => {
    const { id } = (await add()).body
    expect((await change(id, { priceCents: 1 }, tag)).status).toBe(412)
  },
)

test('of twenty changes at once over three replicas, one is made', async () => {
  const { id } = (await add()).body
  const changes = Array.from({ length: 20 }, (_, at) =>
    shop.send('PATCH', `/v1/shows/${id}`, {
      userId: organiser,
      replica: at % 3,
      headers: { 'if-match': '"1"' },
      body: { priceCents: at },
    }),
  )
  const statuses = (await Promise.all(changes)).map(({ status }) => status)
  expect(statuses.filter((status) => status === 200)).toHaveLength(1)
  expect(statuses.filter((status) => status === 412)).toHaveLength(19)
})

test('a new capacity moves what is available, and never below what is sold', async () => {
  const { id } = (await add()).body
  await shop.order(customer, id, { quantity: 4 })
  expect(await change(id, { capacity: 3 }, '"1"')).toMatchObject({
    status: 409,
    body: { code: 'E_CAPACITY_TOO_SMALL' },
  })
  expect(await change(id, { capacity: 5 }, '"1"')).toMatchObject({ status: 200, body: { capacity: 5, available: 1 } })
})

test('pages follow one another without gap or repetition, also when shows start together', async () => {
  await Promise.all(Array.from({ length: 7 }, () => add({ ...gig, startsAt: '2031-01-01T20:00:00Z' })))
  const seen: string[] = []
  for (let cursor: string | null = ''; cursor !== null; ) {
    const page = await shop.send('GET', `/v1/shows?limit=3${cursor && `&cursor=${cursor}`}`)
    expect(page.status).toBe(200)
    seen.push(...page.body.items.map((show: { id: string }) => show.id))
    cursor = page.body.nextCursor
  }
  const { rows } = await shop.postgres.query<{ id: string }>('SELECT id FROM shows ORDER BY starts_at, id')
  expect(seen).toEqual(rows.map(({ id }) => id))
})

test.each(['limit=0', 'limit=101', 'limit=x', 'cursor=bm8', 'page=2'])('a list with %s is refused', async (query) => {
  expect(await shop.send('GET', `/v1/shows?${query}`)).toMatchObject({ status: 400, body: { code: 'E_VALIDATION' } })
})
