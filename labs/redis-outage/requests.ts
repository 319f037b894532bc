import { randomUUID } from 'node:crypto'
import { get } from 'node:http'
import { type Client, type ClientAnswer, createClient } from '@escala/testing/client'
import type { Replica } from '@escala/testing/cluster'
import { order } from '../shop.ts'

export interface Asked {
  url: string
  replicas: Replica[]
  workers: Replica[]
  /** A client that is not logged in. */
  visitor: Client
  /** These three are, and stay what they were when Redis forgets them. */
  buyer: Client
  organiser: Client
  leaver: Client
  show: string
  /** One that is cancelled already. */
  order: string
  /** Accounts whose log-in limit is not used up. */
  account(): { email: string; password: string }
  /** Orders that were accepted. */
  accepted(answer: ClientAnswer): ClientAnswer
}

type Ask = (asked: Asked) => Promise<ClientAnswer>

const png = Buffer.from(
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
  'base64',
)
const newShow = { name: 'Lab Night', startsAt: '2099-01-01T00:00:00Z', priceCents: 1000, currency: 'EUR', capacity: 10 }
const anyVersion = Array.from({ length: 999 }, (_, at) => `"${at + 1}"`).join(', ')
const unknownToken = 'a'.repeat(43)
const idOf = (show: string) => show.replace('/v1/shows/', '')

/** How each route is asked. */
export const requests: Record<string, Ask> = {
  'GET /v1/shows': ({ visitor }) => visitor.get('/v1/shows'),
  'GET /v1/shows/{id}': ({ buyer, show }) => buyer.get(show),
  'GET /v1/shows/{id}/poster': ({ visitor, show }) => visitor.get(`${show}/poster`),
  'GET /v1/openapi.json': ({ visitor }) => visitor.get('/v1/openapi.json'),
  'GET /docs/': ({ visitor }) => visitor.get('/docs/'),
  'POST /v1/users': ({ buyer }) =>
    buyer.post('/v1/users', { email: `${randomUUID()}@example.com`, password: 'a password of a lab', name: 'Ann' }),
  'GET /v1/shows/{id}/live': ({ url, show }) => firstEvent(`${url}${show}/live`),
  'POST /v1/session': ({ url, account }) => createClient(url, { keepAlive: false }).post('/v1/session', account()),
  'GET /v1/session': ({ buyer }) => buyer.get('/v1/session'),
  'DELETE /v1/session': ({ leaver }) => leaver.delete('/v1/session'),
  'GET /v1/cart': ({ buyer }) => buyer.get('/v1/cart'),
  'PUT /v1/cart/items/{showId}': ({ buyer, show }) => buyer.put(`/v1/cart/items/${idOf(show)}`, { quantity: 1 }),
  'GET /v1/orders': ({ buyer }) => buyer.get('/v1/orders?limit=1'),
  'GET /v1/orders/{id}': ({ buyer, order }) => buyer.get(order),
  'POST /v1/shows/{id}/orders': async ({ buyer, show, accepted }) => accepted(await order(buyer, show)),
  'DELETE /v1/orders/{id}': ({ buyer, order }) => buyer.delete(order),
  'GET /v1/reports/sales': ({ organiser }) => organiser.get('/v1/reports/sales'),
  'GET /v1/flags': ({ organiser }) => organiser.get('/v1/flags'),
  'PUT /v1/flags/{name}': ({ organiser }) => organiser.put('/v1/flags/salesOpen', { value: true }),
  'POST /v1/shows': ({ organiser }) => organiser.post('/v1/shows', newShow),
  'PATCH /v1/shows/{id}': ({ organiser, show }) =>
    organiser.patch(show, { name: `Lab Night ${randomUUID()}` }, { 'If-Match': anyVersion }),
  'PUT /v1/shows/{id}/poster': ({ url, organiser, show }) => putPoster(`${url}${show}/poster`, organiser),
  'GET /v1/sessions': ({ buyer }) => buyer.get('/v1/sessions'),
  'DELETE /v1/sessions/{id}': ({ buyer }) => buyer.delete(`/v1/sessions/${randomUUID()}`),
  'DELETE /v1/sessions': ({ visitor }) => visitor.delete('/v1/sessions'), // the others are needed for what follows
  'PUT /v1/password': ({ buyer }) =>
    buyer.put('/v1/password', { current: 'not the password', password: 'another password' }),
  'POST /v1/password-resets': ({ visitor }) =>
    visitor.post('/v1/password-resets', { email: `${randomUUID()}@example.com` }),
  'PUT /v1/password-resets': ({ visitor }) =>
    visitor.put('/v1/password-resets', { token: unknownToken, password: 'another password' }),
  'POST /v1/email-verifications': ({ buyer }) => buyer.post('/v1/email-verifications'),
  'PUT /v1/email-verifications': ({ visitor }) => visitor.put('/v1/email-verifications', { token: unknownToken }),
  'POST /v1/tokens': ({ buyer }) => buyer.post('/v1/tokens', { name: 'ci', scopes: ['nothing'] }),
  'GET /v1/tokens': ({ buyer }) => buyer.get('/v1/tokens'),
  'DELETE /v1/tokens/{id}': ({ buyer }) => buyer.delete(`/v1/tokens/${randomUUID()}`),
  'GET /v1/me/export': ({ buyer }) => buyer.get('/v1/me/export'),
  'DELETE /v1/me': ({ buyer }) => buyer.delete('/v1/me', { password: 'a wrong password' }),
  'GET replica/livez': ({ replicas }) => internal(replicas, 'livez'),
  'GET replica/readyz': ({ replicas }) => internal(replicas, 'readyz'),
  'GET replica/metrics': ({ replicas }) => internal(replicas, 'metrics'),
  'GET replica/scale': ({ replicas }) => internal(replicas, 'scale'),
  'GET worker/livez': ({ workers }) => internal(workers, 'livez'),
  'GET worker/metrics': ({ workers }) => internal(workers, 'metrics'),
}

/** Sends one on each; returns the worst response. */
async function internal(replicas: Replica[], page: string): Promise<ClientAnswer> {
  const answers = await Promise.all(
    replicas.map(async ({ internalUrl }) => {
      const client = createClient(internalUrl, { keepAlive: false })
      return await client.get(`/${page}`)
    }),
  )
  const worst = answers.find(({ status }) => status !== 200) ?? answers[0]
  if (worst === undefined) throw new Error('no replica was asked')
  return worst
}

/** A stream never ends: its first event is its answer. */
function firstEvent(url: string): Promise<ClientAnswer> {
  return new Promise((resolve) => {
    const request = get(url, { agent: false, timeout: 30_000 }, (res) => {
      const status = res.statusCode ?? 0
      let text = ''
      const end = () => {
        resolve({ status, body: status === 200 ? undefined : JSON.parse(text), headers: res.headers })
        request.destroy()
      }
      res.setEncoding('utf8')
      res.on('data', (chunk: string) => {
        text += chunk
        if (status === 200 && /^data:/m.test(text)) end()
      })
      res.on('end', end).on('error', end)
    })
    const failed = (error?: Error) =>
      resolve({ status: 0, body: undefined, headers: {}, error: error?.message ?? 'late' })
    request.on('error', failed).on('timeout', () => request.destroy(new Error('timeout')))
  })
}

export async function putPoster(url: string, { cookies }: Client): Promise<ClientAnswer> {
  const cookie = [...cookies].map((pair) => pair.join('=')).join('; ')
  const answer = await fetch(url, { method: 'PUT', body: png, headers: { cookie, 'content-type': 'image/png' } })
  return { status: answer.status, body: await answer.json(), headers: {} }
}
