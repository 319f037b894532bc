import { exposedHeaders } from '@escala/kit/http/cors'
import { type Client, createClient } from '@escala/testing/client'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import type { Api } from './compose.ts'
import { startTestReplica } from './test-replica.ts'

const app = 'https://app.example.com'
const other = 'https://other.example'
const evil = 'https://evil.example'
let replica: Api
let crossSite: Api
beforeAll(async () => {
  const servers = { postgresUrl: inject('postgresUrl'), redisUrl: inject('redisUrl') }
  const env = { CORS_ORIGINS: `${app},${other}`, LOG_IN_LIMIT_PER_ADDRESS: '2' }
  replica = await startTestReplica({ ...servers, env })
  crossSite = await startTestReplica({ ...servers, env: { CORS_ORIGINS: app, COOKIE_SAME_SITE: 'none' } })
})
afterAll(() => Promise.all([replica, crossSite].map((one) => one?.stop())))

let lastAddress = Math.floor(Math.random() * 2 ** 23)
const newAddress = () => `10.${[16, 8, 0].map((bits) => (++lastAddress >> bits) & 255).join('.')}`
const urlOf = (api: Api) => `http://127.0.0.1:${api.port()}`
const client = (headers: Record<string, string> = {}, api = replica) =>
  createClient(urlOf(api), { headers: { 'x-forwarded-for': newAddress(), ...headers } })
const preflight = (origin: string, address = newAddress()) =>
  fetch(`${urlOf(replica)}/v1/session`, {
    method: 'OPTIONS',
    headers: { origin, 'access-control-request-method': 'POST', 'x-forwarded-for': address },
  })
async function loggedIn(api = replica): Promise<Client> {
  const user = client({ 'x-forwarded-proto': 'https' }, api)
  const { email, password } = await user.signUp()
  await user.logIn(email, password)
  return user
}

test('a preflight of a listed origin is answered for two hours, and counts for no limit', async () => {
  const address = newAddress()
  const responses = await Promise.all(Array.from({ length: 10 }, () => preflight(app, address)))
  for (const { status, headers } of responses) {
    expect(status).toBe(204)
    expect(Object.fromEntries(headers)).toMatchObject({
      'access-control-allow-origin': app,
      'access-control-allow-credentials': 'true',
      'access-control-allow-methods': 'GET, HEAD, POST, PUT, PATCH, DELETE',
      'access-control-allow-headers': expect.stringMatching(/Authorization.*Content-Type.*Idempotency-Key/),
      'access-control-max-age': '7200',
      vary: 'Origin',
    })
    expect(headers.has('ratelimit')).toBe(false)
  }
  const user = client({ 'x-forwarded-for': address, origin: app })
  await user.signUp() // and a log-in: both of the two that this address has
  expect((await user.post('/v1/session', { email: 'nobody@example.com', password: 'x' })).status).toBe(401)
})

test('a preflight of another origin gets no permission', async () => {
  for (const origin of [evil, 'null', `${app}.evil.example`, app.replace('https', 'http'), `${app}:8443`]) {
    const { status, headers } = await preflight(origin)
    expect([origin, status, headers.get('access-control-allow-origin')]).toEqual([origin, 405, null])
    expect(headers.get('vary')).toBe('Origin')
  }
})

test('responses, errors and refusals too, can be read by pages of listed origins', async () => {
  const page = client({ origin: other })
  const paths = ['/v1/openapi.json', '/v1/session', '/v1/nothing']
  const responses = await Promise.all(paths.map((path) => page.get(path)))
  await page.post('/v1/password-resets', { email: 'a@example.com' })
  await page.post('/v1/password-resets', { email: 'a@example.com' })
  const limited = await page.post('/v1/password-resets', { email: 'a@example.com' })
  expect([...responses, limited].map(({ status }) => status)).toEqual([200, 401, 404, 429])
  for (const { headers } of [...responses, limited])
    expect(headers).toMatchObject({
      'access-control-allow-origin': other,
      'access-control-allow-credentials': 'true',
      'access-control-expose-headers': exposedHeaders,
      vary: 'Origin',
    })
  const { headers } = await client({ origin: evil }).get('/v1/openapi.json')
  expect(headers).toMatchObject({ vary: 'Origin' })
  expect(headers).not.toHaveProperty('access-control-allow-origin')
})

test.each([
  ['a program, which sends neither header', {}, 204],
  ['a page of the same origin', { origin: 'http://HOST' }, 204],
  [
    'the same, as a browser says it',
    { origin: 'https://behind-a-proxy.example', 'sec-fetch-site': 'same-origin' },
    204,
  ],
  ['a page of the same site', { origin: 'https://app.same.example', 'sec-fetch-site': 'same-site' }, 204],
  ['a page of a listed origin', { origin: app, 'sec-fetch-site': 'cross-site' }, 204],
  ['a page of another site', { origin: evil, 'sec-fetch-site': 'cross-site' }, 403],
  ['the same, without an Origin', { 'sec-fetch-site': 'cross-site' }, 403],
  ['the same, in a browser that says no more', { origin: evil }, 403],
  ['a page without an origin', { origin: 'null' }, 403],
  ['a page whose origin begins as the own one', { origin: 'http://HOST.evil.example' }, 403],
])('what %s sends with the cookie', async (_, headers, status) => {
  const user = await loggedIn()
  const host = `127.0.0.1:${replica.port()}`
  const sent = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, value.replace('HOST', host)]))
  const { body, ...response } = await user.delete('/v1/session', undefined, sent)
  expect([response.status, body?.code]).toEqual([status, status === 403 ? 'E_FOREIGN_ORIGIN' : undefined])
  if (status === 403) expect((await user.get('/v1/session', undefined, sent)).status).toBe(200) // reads change nothing
})

test('without a cookie, or with a token, no origin is asked for', async () => {
  const foreign = { origin: evil, 'sec-fetch-site': 'cross-site' }
  expect((await client(foreign).delete('/v1/session')).status).toBe(204)
  const user = await loggedIn()
  const both = { ...foreign, authorization: 'Bearer none' }
  expect((await user.delete('/v1/session', undefined, both)).body.code).toBe('E_NOT_LOGGED_IN')
})

test('cookies for other sites are sent over HTTPS only', async () => {
  const cookies = async (proto: string) => {
    const user = client({ 'x-forwarded-proto': proto }, crossSite)
    const { email, password } = await user.signUp()
    const { status, headers } = await user.post('/v1/session', { email, password })
    expect(status).toBe(200)
    return headers['set-cookie'] ?? []
  }
  const secure = await cookies('https')
  expect(secure.map((cookie) => cookie.split('=')[0]).sort()).toEqual(['device', 'sid'])
  for (const cookie of secure) expect(cookie).toMatch(/; HttpOnly; Secure; SameSite=None$/)
  expect((await cookies('http')).filter((cookie) => !cookie.includes('; Secure'))).toEqual([])
})
