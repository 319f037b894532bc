import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { bootErrors, kitErrors } from '@escala/kit/errors/errors'
import { type Client, createClient, expectStatus } from '@escala/testing/client'
import { type Cluster, startCluster } from '@escala/testing/cluster'
import type { OpenApiDocument } from '@escala/testing/fuzz/document'
import { type FuzzReport, fuzz, type SentRequest, type Suspicion } from '@escala/testing/fuzz/fuzz'
import { seedPassword } from '@escala/testing/template'
import { dataModules } from '../../apps/api/src/modules.ts'

export interface ShopFuzzOptions {
  seed: number
  requests: number
  concurrency?: number
  progress?(sent: number): void
}

/** Limits that would hide what lies behind them: every client here is one address, and the machine is busy. */
const withoutLimits = {
  RATE_LIMIT_PER_MINUTE: '1000000',
  MAX_IN_FLIGHT: '10000',
  DATABASE_TIMEOUT_MS: '10000',
  HEARTBEAT_MS: '5000',
  REDIS_TIMEOUT_MS: '5000',
}

/** Starts three replicas behind NGINX, and fuzzes them. */
export async function fuzzCluster(options: ShopFuzzOptions): Promise<FuzzReport> {
  await using cluster = await startCluster({
    env: withoutLimits,
    nginx: { settings: { client_body_timeout: '1s' } }, // some requests announce more than they send
  })
  return await fuzzShop(cluster, options)
}

type Target = Pick<Cluster, 'url' | 'replicas' | 'accessLog'>

/** Sends requests to every operation of the shop's document. */
export async function fuzzShop(cluster: Target, options: ShopFuzzOptions): Promise<FuzzReport> {
  const client = createClient(cluster.url)
  const { body: document } = expectStatus(await client.get('/v1/openapi.json'), 200)
  client.close()
  const { known, close } = await fillShop(cluster)
  const customer = createIdentity(cluster, 'customer@example.com', 2)
  const organiser = createIdentity(cluster, 'organiser@example.com', 3)
  const leaver = createIdentity(cluster, undefined, 4)
  const report = await fuzz({
    ...options,
    url: cluster.url,
    document: document as OpenApiDocument,
    identities: { customer: customer.headers, organiser: organiser.headers, leaver: leaver.headers },
    identitiesFor: ({ name }) =>
      /\/v1\/session|^DELETE \/v1\/me$/.test(name) && !name.startsWith('GET') ? ['leaver'] : ['customer', 'organiser'],
    weightOf: ({ name }) => (/^POST \/v1\/(users|session)$/.test(name) ? 1 : undefined),
    known: ({ path }, name) => known[path.startsWith('/v1/orders') && name === 'id' ? 'orderId' : name] ?? [],
    files: {
      'image/png': [png],
      'image/gif': [Buffer.from('GIF89a and more than that')],
      'text/html': [Buffer.from('<html>')],
    },
    codes: codesOf(),
    provoked: [],
    undocumented: /^\/(docs(\/|\?|$)|v1\/openapi\.json)/i,
    withinMs: 8000,
    maxHeadBytes: 8192,
    maxErrorBytes: 16_384,
    maxBodyBytes: 4_000_000,
    inspect: createInspector(cluster),
  })
  close()
  return report
}

const png = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  'base64',
)

function codesOf(): Record<string, number[]> {
  const errors = [kitErrors, bootErrors, ...dataModules.map((module) => module.errors)]
  const codes = Object.fromEntries(
    errors.flatMap((catalogue) => Object.entries(catalogue).map(([code, make]) => [code, [make().kind.status]])),
  )
  // NGINX and Node refuse what is not HTTP under the status that says why.
  return {
    ...codes,
    E_MALFORMED_REQUEST: [400, 411, 421, 497, 501, 505],
    E_TIMEOUT: [503, 504],
    E_METHOD_NOT_ALLOWED: [405],
  }
}

/** Things to find: shows, orders, a poster. */
async function fillShop(cluster: Target) {
  const organiser = createClient(cluster.url)
  await organiser.logIn('organiser@example.com', seedPassword)
  const customer = createClient(cluster.url, { localAddress: '127.0.1.1' })
  await customer.logIn('customer@example.com', seedPassword)
  const startsAt = new Date(Date.now() + 30 * 24 * 3_600_000).toISOString()
  const showIds: string[] = []
  const orderIds: string[] = []
  for (const capacity of [1_000_000, 2]) {
    const show = { name: 'Fuzz', startsAt, priceCents: 1000, currency: 'EUR', capacity }
    showIds.push(expectStatus(await organiser.post('/v1/shows', show), 201).body.id)
  }
  for (const quantity of [1, 2, 3]) {
    const headers = { 'Idempotency-Key': randomUUID() }
    const placed = await customer.post(`/v1/shows/${showIds[0]}/orders`, { quantity }, headers)
    orderIds.push(expectStatus(placed, 201).body.id)
  }
  const known: Record<string, unknown[]> = {
    id: showIds,
    showId: showIds,
    orderId: orderIds,
    name: ['salesOpen', 'A show'],
    'If-Match': ['"1"', '"2"'],
    email: ['customer@example.com'],
  }
  return {
    known,
    close() {
      for (const one of [organiser, customer]) one.close()
    },
  }
}

/**
 * Logs in again when the fuzz has ended the session, each time from another address: log-in has a limit for each. Without an e-mail address it
 * signs up each time, since the fuzz may have deleted the account.
 */
function createIdentity(cluster: Target, email: string | undefined, network: number) {
  let client: Client | undefined
  let logIns = 0
  return {
    async headers(): Promise<[string, string][]> {
      if (client === undefined || (await client.get('/v1/session')).status !== 200) {
        client?.close()
        client = createClient(cluster.url, { localAddress: `127.${network}.${++logIns % 250}.1` })
        if (email) await logIn(client, email, seedPassword)
        else await signUpAndLogIn(client)
      }
      return [['Cookie', [...client.cookies].map((pair) => pair.join('=')).join('; ')]]
    },
  }
}

/** Waits for the system where a request has taken it down: that is a finding, and the run goes on. */
async function logIn(client: Client, email: string, password: string): Promise<void> {
  for (const deadline = Date.now() + 15_000; ; await wait(250)) {
    const answer = await client.post('/v1/session', { email, password })
    if (answer.status === 200) return
    if (answer.status !== 503 || Date.now() > deadline) expectStatus(answer, 200)
  }
}

async function signUpAndLogIn(client: Client): Promise<void> {
  const { email, password } = await client.signUp()
  await logIn(client, email, password)
}

/** After each batch: every replica runs, answers and has caught everything, and NGINX has given none of them up. */
function createInspector(cluster: Target) {
  const pids = new Map(cluster.replicas.map((replica) => [replica.id, replica.pid]))
  let logged = 0
  return async (sent: SentRequest[]): Promise<Suspicion[]> => {
    const suspicions: Suspicion[] = []
    for (const replica of cluster.replicas) {
      if (!replica.running() || replica.pid !== pids.get(replica.id)) suspicions.push({ what: 'a replica ended' })
      const answer = await fetch(`${replica.url}/v1/shows`, { signal: AbortSignal.timeout(5000) }).catch(
        () => undefined,
      )
      if (answer?.status !== 200) suspicions.push({ what: `a replica answers ${answer?.status ?? 'nothing'}` })
      if (/"msg":"uncaught exception"/.test(replica.logs())) {
        suspicions.push({ what: 'a replica logged an uncaught exception' })
      }
    }
    const log = await cluster.accessLog()
    const lines = log.slice(logged).split('\n').slice(0, -1)
    logged = log.lastIndexOf('\n') + 1
    const byId = new Map(sent.map(({ request, answer }) => [answer.headers['x-request-id'], request]))
    // More than one attempt, or one without a valid answer: NGINX counts that against the replica.
    const failures = lines
      .map((line) => JSON.parse(line))
      .filter(({ replicaStatus }) => /50[24]|,/.test(`${replicaStatus}`))
    const own = failures.flatMap(({ requestId }) => byId.get(requestId) ?? [])
    for (const request of own) suspicions.push({ what: 'NGINX gave a replica up', request })
    if (own.length === 0 && failures.length > 0) suspicions.push({ what: 'NGINX gave a replica up' })
    return suspicions
  }
}
