import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { type Client, createClient, expectStatus } from '@escala/testing/client'
import { type Cluster, startCluster } from '@escala/testing/cluster'
import { withClient } from '@escala/testing/test-database'
import { afterAll, beforeAll, expect, inject, test as runs, vi } from 'vitest'
import { copyCheckout } from '../../../scripts/copy-checkout.ts'
import { addModule } from '../../../scripts/module-list.ts'
import { type DnsServer, startDnsServer } from './dns-server.ts'
import { listen } from './listener.ts'

// The link shortener as a user has it: a checkout with one line more, three replicas behind NGINX and a worker.
const root = fileURLToPath(new URL('../../..', import.meta.url))
const example = fileURLToPath(new URL('..', import.meta.url))
const perMinute = 40
const target = 'https://example.com/a/long/address?with=a#query'

let copy: ReturnType<typeof copyCheckout> | undefined
let dns: DnsServer
let cluster: Cluster
let ann: Client
let annId: string

// It runs a copy of the checkout, which the image of the containers does not have.
const isLocal = inject('driver') === 'local'
const test = runs.skipIf(!isLocal)

beforeAll(async () => {
  if (!isLocal) return
  if (!existsSync(`${example}/node_modules`)) {
    execFileSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: example, timeout: 60_000 })
  }
  copy = copyCheckout(root)
  addModule(`${copy.root}/apps/modules.ts`, { name: 'links', from: '../examples/links/src/module.ts' })
  execFileSync(`${root}/node_modules/.bin/tsc`, ['-p', 'examples/links'], { cwd: copy.root, stdio: 'inherit' })
  dns = await startDnsServer()
  cluster = await startCluster({
    checkout: copy.root,
    workers: 1,
    workerEnv: { JOB_LOCK_MS: '1000', JOB_STALLED_MS: '500' }, // how long a killed worker's jobs wait for another one
    env: { LINKS_PER_MINUTE: String(perMinute), LINKS_DNS_SERVER: dns.address },
  })
  ;({ client: ann, id: annId } = await newUser())
})

afterAll(async () => {
  await cluster?.stop()
  dns?.stop()
  copy?.[Symbol.dispose]()
})

test('a request that is sent to three replicas at once with one key creates one link', async () => {
  const headers = { 'idempotency-key': randomUUID() }
  const each = await Promise.all(cluster.replicas.map(({ url }) => as(ann, url).post('/v1/links', { target }, headers)))
  const created = each.filter(({ status }) => status === 201)
  expect(created.length).toBeGreaterThan(0)
  expect(each.filter(({ status }) => status !== 201).map(({ body }) => body.code)).toSatisfy((codes: string[]) =>
    codes.every((code) => code === 'E_IDEMPOTENCY_IN_PROGRESS'),
  )
  const again = await ann.post('/v1/links', { target }, headers)
  expect(again.status).toBe(201)
  expect(new Set([again, ...created].map(({ body }) => body.code)).size).toBe(1)
  expect((await ann.get('/v1/links')).body.items).toMatchObject([{ code: again.body.code, target }])
  expect(await ann.post('/v1/links', { target: 'https://example.com' }, headers)).toMatchObject({
    status: 422,
    body: { code: 'E_IDEMPOTENCY_MISMATCH' },
  })
  expect((await ann.post('/v1/links', { target })).body.code).toBe('E_IDEMPOTENCY_KEY_MISSING')
})

test('each click is counted once, while a replica and the worker are killed', async () => {
  const { code } = await create(ann)
  const visitor = createClient(cluster.url)
  const [victim] = cluster.replicas
  const [worker] = cluster.workers
  const clicks = 60
  const answers = Array.from({ length: clicks }, async (_, index) => {
    if (index === 20) void victim?.kill()
    if (index === 30) void worker?.kill()
    return await visitor.get(`/l/${code}`)
  })
  for (const { status, headers } of await Promise.all(answers)) {
    expect(status).toBe(302)
    expect(headers.location).toBe(target)
  }
  await Promise.all([victim?.restart(), worker?.restart()])
  await clicksOf(code, clicks)
  const requests = await createClient(cluster.url).get(`/l/${code}`, undefined, {
    'x-request-id': 'chosen-by-a-client',
  })
  expect(requests.status).toBe(302)
  await clicksOf(code, clicks + 1)
})

test('a request that NGINX sends to a second replica counts once', async () => {
  const { code } = await create(ann)
  const [first, second] = cluster.replicas
  // As NGINX does when a replica dies before it has responded: the same id again, while each further request has another one.
  for (const replica of [first, second]) {
    const headers = { 'x-request-id': 'one-request-of-a-visitor' }
    expect((await createClient(replica?.url ?? '').get(`/l/${code}`, undefined, headers)).status).toBe(302)
  }
  expect((await ann.get(`/l/${code}`)).status).toBe(302)
  await clicksOf(code, 2)
  await vi.waitFor(
    async () => expect((await sql('SELECT FROM outbox WHERE published_at IS NULL')).rowCount).toBe(0),
    10_000,
  )
  await clicksOf(code, 2)
})

test('an unknown code is a problem, and only GET counts', async () => {
  expect(await ann.get('/l/ABCDEFGH')).toMatchObject({ status: 404, body: { code: 'E_NOT_FOUND' } })
  const refused = await ann.get('/l/x')
  expect([refused.body.code, refused.headers['x-robots-tag']]).toEqual(['E_VALIDATION', 'noindex'])
  const { code } = await create(ann)
  expect((await fetch(`${cluster.url}/l/${code}`, { method: 'HEAD', redirect: 'manual' })).status).toBe(302)
  await ann.get(`/l/${code}`)
  await clicksOf(code, 1)
})

test('pages of the own list have every link once, and no one else sees them', async () => {
  const { client } = await newUser()
  const codes: string[] = []
  for (let count = 0; count < 5; count++) codes.unshift((await create(client)).code)
  const seen: string[] = []
  let cursor: string | null = ''
  while (cursor !== null) {
    const { body } = expectStatus(await client.get(`/v1/links?limit=2${cursor && `&cursor=${cursor}`}`), 200)
    seen.push(...body.items.map(({ code }: { code: string }) => code))
    cursor = body.nextCursor
  }
  expect(seen).toEqual(codes)
  expect((await client.get('/v1/links?cursor=nonsense')).status).toBe(400)
  expect((await ann.get(`/v1/links/${codes[0]}`)).status).toBe(404)
  expect((await createClient(cluster.url).get('/v1/links')).status).toBe(401)
})

test('the nightly job adds up whole days, and again if it runs again', async () => {
  const { code } = await create(ann)
  await sql(
    `INSERT INTO link_clicks (id, code, clicked_at) SELECT 'click ' || n, $1,
       date_trunc('day', now(), 'UTC') - interval '1 second' - n / 3 * interval '1 day' FROM generate_series(0, 8) AS n`,
    [code],
  )
  const run = () => sql(`INSERT INTO outbox (type, aggregate, payload) VALUES ('links.aggregate', 'links', '{}')`)
  for (let runs = 1; runs <= 2; runs++) {
    await run()
    await vi.waitFor(
      () => expect(cluster.workers[0]?.logs().match(/"msg":"clicks aggregated"/g)?.length).toBeGreaterThanOrEqual(runs),
      10_000,
    )
    const { items } = (await ann.get(`/v1/links/${code}/days`)).body
    expect(items.map(({ clicks }: { clicks: number }) => clicks)).toEqual([3, 3, 3])
  }
})

test('live clicks arrive from every replica, also after a replica was killed', async () => {
  const { code } = await create(ann)
  const cookie = cookieOf(ann)
  const listener = listen(
    `${cluster.url}/v1/links/${code}/live`,
    { cookie },
    ({ clicks }: { clicks: number }) => clicks,
  )
  try {
    await vi.waitFor(() => expect(listener.seen).toEqual([0]), 5000)
    for (const { url } of cluster.replicas) await createClient(url).get(`/l/${code}`)
    await vi.waitFor(() => expect(listener.seen.at(-1)).toBe(3), 5000)
    const lost = cluster.replicas.find(({ id }) => id === listener.replicaId())
    await lost?.kill()
    await ann.get(`/l/${code}`)
    await vi.waitFor(() => expect(listener.seen.at(-1)).toBe(4), 15_000)
    expect(listener.seen).toEqual([...new Set(listener.seen)].sort((one, other) => one - other))
    await lost?.restart()
  } finally {
    listener.stop()
  }
})

test('the QR image leads to the link', async () => {
  const { code } = await create(ann)
  const { status, headers, body } = await ann.get(`/v1/link-images/${code}.svg`)
  expect(status).toBe(200)
  expect(headers['content-type']).toMatch('image/svg+xml')
  expect(body).toMatch(/^<svg/)
  expect(await ann.get('/v1/link-images/ABCDEFGH.svg')).toMatchObject({ status: 404, body: { code: 'E_NOT_FOUND' } })
  expect((await createClient(cluster.url).get(`/v1/link-images/${code}.svg`)).status).toBe(401)
})

test('one replica at a time asks about a domain, and a killed one holds up no one for long', async () => {
  const host = 'go.example.com'
  dns.records.set(host, `escala-links=${annId}`)
  dns.silent.add(host)
  const claims = cluster.replicas.map(({ url }) => as(ann, url).put(`/v1/link-domains/${host}`))
  await vi.waitFor(() => expect(dns.asked).toEqual([host]), 5000)
  const busy = await Promise.race(claims)
  expect(busy).toMatchObject({ status: 409, body: { code: 'E_LINK_DOMAIN_BUSY' } })
  dns.silent.delete(host)
  const statuses = (await Promise.all(claims)).map(({ status }) => status).sort()
  expect(statuses).toEqual([200, 409, 409])

  // The one that holds the lock dies with it.
  dns.silent.add(host)
  const asked = dns.asked.length
  const [victim] = cluster.replicas
  const lost = as(ann, victim?.url ?? '').put(`/v1/link-domains/${host}`)
  await vi.waitFor(() => expect(dns.asked.length).toBe(asked + 1), 5000)
  await victim?.kill()
  expect((await lost).status).toBe(0)
  dns.silent.delete(host)
  expect((await ann.put(`/v1/link-domains/${host}`)).status).toBe(409)
  await vi.waitFor(async () => expect((await ann.put(`/v1/link-domains/${host}`)).status).toBe(200), 10_000)
  await victim?.restart()
})

test("a domain of a user's own serves the links of this user alone", async () => {
  const host = 'links.example.com'
  const { client: bob, id } = await newUser()
  expect((await bob.put(`/v1/link-domains/${host}`)).body.code).toBe('E_LINK_DOMAIN_RECORD')
  dns.records.set(host, `escala-links=${id}`)
  expect((await bob.put(`/v1/link-domains/${host}`)).status).toBe(200)
  expect((await bob.get('/v1/link-domains')).body.items).toMatchObject([{ host }])
  const [own, foreign] = [await create(bob), await create(ann)]
  const visitor = createClient(cluster.url)
  expect((await visitor.get(`/l/${own.code}`, undefined, { host })).status).toBe(302)
  expect((await visitor.get(`/l/${foreign.code}`, undefined, { host })).status).toBe(404)
  expect((await visitor.get(`/l/${foreign.code}`)).status).toBe(302)
})

test('a user creates as many links a minute as the setting allows, on all replicas together', async () => {
  const { client } = await newUser()
  const three = cluster.replicas.map(({ url }) => as(client, url))
  const statuses = await Promise.all(
    Array.from({ length: perMinute + 9 }, async (_, index) => {
      const { status } = await (three[index % 3] as Client).post(
        '/v1/links',
        { target },
        { 'idempotency-key': `k${index}` },
      )
      return status
    }),
  )
  expect(statuses.filter((status) => status === 201)).toHaveLength(perMinute)
  expect(statuses.filter((status) => status === 429)).toHaveLength(9)
})

test('metrics of the module are there, in the API and in the worker', async () => {
  const texts = await Promise.all(
    [...cluster.replicas, ...cluster.workers].map(async ({ internalUrl }) =>
      (await fetch(`${internalUrl}/metrics`)).text(),
    ),
  )
  const sum = (pattern: RegExp) =>
    texts.flatMap((text) => [...text.matchAll(pattern)]).reduce((total, [, value]) => total + Number(value), 0)
  expect(sum(/^escala_links_redirects_total\{.*outcome="found".*\} (\d+)$/gm)).toBeGreaterThan(0)
  expect(sum(/^escala_links_redirects_total\{.*outcome="missing".*\} (\d+)$/gm)).toBeGreaterThan(0)
  expect(sum(/^escala_links_clicks_total\{.*\} (\d+)$/gm)).toBeGreaterThan(0)
})

test("an account's export has its links, and its deletion removes them", async () => {
  const client = createClient(cluster.url)
  const { email, password } = await client.signUp()
  await client.logIn(email, password)
  const { code } = await create(client)
  expect(expectStatus(await client.get('/v1/me/export'), 200).body.modules.links.links).toMatchObject([
    { code, target },
  ])
  expectStatus(await client.delete('/v1/me', { password }), 204)
  expect((await createClient(cluster.url).get(`/l/${code}`)).status).toBe(404)
})

async function newUser(): Promise<{ client: Client; id: string }> {
  const client = createClient(cluster.url)
  const { id, email, password } = await client.signUp()
  await client.logIn(email, password)
  return { client, id }
}

/** The same user at another address: one of the replicas. */
function as(client: Client, url: string): Client {
  const copy = createClient(url)
  for (const [name, value] of client.cookies) copy.cookies.set(name, value)
  return copy
}

const cookieOf = ({ cookies }: Client) => [...cookies].map((pair) => pair.join('=')).join('; ')

async function create(client: Client): Promise<{ code: string }> {
  return expectStatus(await client.post('/v1/links', { target }, { 'idempotency-key': randomUUID() }), 201).body
}

async function clicksOf(code: string, expected: number): Promise<void> {
  const { rows } = await vi.waitFor(
    async () => {
      const found = await sql('SELECT clicks FROM links WHERE code = $1', [code])
      expect(found.rows[0].clicks).toBeGreaterThanOrEqual(expected)
      return found
    },
    { timeout: 15_000, interval: 50 },
  )
  expect(rows[0].clicks).toBe(expected)
}

const sql = (text: string, values: unknown[] = []) =>
  withClient(cluster.databaseUrl, (connection) => connection.query(text, values))
