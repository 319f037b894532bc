import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { PassThrough } from 'node:stream'
import express from 'express'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { mountRoutes } from '../http/mount.ts'
import { openApi } from '../http/openapi.ts'
import { problemHandler } from '../http/problem.ts'
import { requestContext } from '../http/request-context.ts'
import { route } from '../http/route.ts'
import { createLog } from '../log/log.ts'
import { verifyWebhook } from './standard.ts'

// The example of the specification: https://github.com/standard-webhooks/standard-webhooks
const example = {
  secret: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
  id: 'msg_p5jXN8AQM9LWM0D4loKWxJek',
  time: 1614265330,
  body: '{"test": 2432232314}',
  signature: 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
}
const secret = `whsec_${Buffer.alloc(24, 7).toString('base64')}`
const now = () => Math.floor(Date.now() / 1000)

function sign(body: string | Buffer, { id = 'msg_1', time = now(), key = secret } = {}) {
  const bytes = Buffer.from(key.replace('whsec_', ''), 'base64')
  const mac = createHmac('sha256', bytes).update(`${id}.${time}.`).update(body).digest('base64')
  return { 'webhook-id': id, 'webhook-timestamp': `${time}`, 'webhook-signature': `v1,${mac}` }
}

const received: Buffer[] = []
const hook = route({
  method: 'post',
  path: '/v1/webhooks/paid',
  summary: 'What the provider reports',
  access: 'public',
  ignoresSession: true,
  body: { raw: { maxBytes: 2000, types: ['application/json', 'text/plain'] } },
  responses: { 204: { description: 'Received' } },
  errors: ['E_WEBHOOK_SIGNATURE'],
  async handle({ body, req }) {
    verifyWebhook({ secrets: ['whsec_bm90IHRoaXMgb25lLCBidXQgbGVnYWw=', secret], headers: req.headers, body })
    received.push(body)
    return { status: 204 }
  },
})

let url: string
let close: () => void
beforeAll(async () => {
  const log = createLog({ service: 'test', replicaId: 'test', version: '', destination: new PassThrough() })
  const app = express()
  app.use(requestContext({ log, replicaId: 'r', exposeReplica: false, deadlineMs: 5000 }))
  mountRoutes(app, [hook], { roles: [], hasRole: async () => false })
  app.use(problemHandler)
  const server = app.listen(0, '127.0.0.1')
  await once(server, 'listening')
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/webhooks/paid`
  close = () => server.close()
})
afterAll(() => close())

async function post(body: string | Buffer | undefined, headers: Record<string, string>) {
  const response = await fetch(url, { method: 'POST', body: body && Buffer.from(body), headers })
  return [response.status, response.status === 204 ? undefined : ((await response.json()) as { code: string }).code]
}
const json = { 'content-type': 'application/json' }

test('the example of the specification is verified', () => {
  const { body, id, time } = example
  const headers = { 'webhook-id': id, 'webhook-timestamp': `${time}`, 'webhook-signature': example.signature }
  const options = { secrets: [example.secret], headers, body: Buffer.from(body), nowMs: time * 1000 }
  expect(verifyWebhook(options)).toEqual({ id, sentAt: new Date(time * 1000) })
  for (const nowMs of [time * 1000 + 300_001, time * 1000 - 300_001]) {
    expect(() => verifyWebhook({ ...options, nowMs })).toThrow('signature')
  }
})

test('a handler gets the exact bytes, which JSON would lose', async () => {
  for (const body of ['{"a":1.0,  "a":2}', '{"n":12345678901234567890}\n', '\ufeff[]', 'no JSON {']) {
    expect(await post(body, { ...json, ...sign(body) })).toEqual([204, undefined])
    expect(received.at(-1)?.equals(Buffer.from(body))).toBe(true)
  }
  const bytes = Buffer.from([0xff, 0, 0xfe, 10])
  expect(await post(bytes, { 'content-type': 'text/plain; charset=latin1', ...sign(bytes) })).toEqual([204, undefined])
  expect(received.at(-1)?.equals(bytes)).toBe(true)
  expect(await post(undefined, { ...json, ...sign('') })).toEqual([204, undefined])
})

test('another body, secret, time, id or form of a signature is refused', async () => {
  const count = received.length
  const body = '{"paid":true}'
  const good = sign(body)
  const other = `whsec_${Buffer.alloc(24, 8).toString('base64')}`
  const wrong: Record<string, string>[] = [
    {},
    sign('{"paid":false}'),
    sign(body, { key: other }),
    sign(body, { time: now() - 400 }),
    sign(body, { time: now() + 400 }),
    { ...good, 'webhook-id': 'msg_2' },
    { ...good, 'webhook-timestamp': `${now() - 1}` },
    { ...good, 'webhook-timestamp': 'now' },
    { ...good, 'webhook-signature': good['webhook-signature'].slice(3) },
    { ...good, 'webhook-signature': `v1a${good['webhook-signature'].slice(2)}` },
    { ...good, 'webhook-signature': good['webhook-signature'].slice(0, -4) },
    { ...good, 'webhook-signature': 'v1,' },
  ]
  for (const headers of wrong) {
    expect([headers, ...(await post(body, { ...json, ...headers }))]).toEqual([headers, 401, 'E_WEBHOOK_SIGNATURE'])
  }
  expect(received).toHaveLength(count)
  const among = `${sign(body, { key: other })['webhook-signature']} ${good['webhook-signature']}`
  expect(await post(body, { ...json, ...good, 'webhook-signature': among })).toEqual([204, undefined])
})

test('a body that is too large, of another type or compressed is refused', async () => {
  const large = 'x'.repeat(2001)
  expect(await post(large, { ...json, ...sign(large) })).toEqual([413, 'E_BODY_TOO_LARGE'])
  const fits = 'x'.repeat(2000)
  expect(await post(fits, { ...json, ...sign(fits) })).toEqual([204, undefined])
  expect(await post('x', { 'content-type': 'text/html' })).toEqual([415, 'E_UNSUPPORTED_MEDIA_TYPE'])
  expect(await post('x', { ...json, 'content-encoding': 'gzip' })).toEqual([415, 'E_UNSUPPORTED_MEDIA_TYPE'])
})

test('a bound that NGINX would not keep ends the start', () => {
  for (const raw of [
    { maxBytes: 3_000_000, types: ['text/plain'] },
    { maxBytes: 0, types: ['text/plain'] },
    { maxBytes: 10, types: [] },
  ]) {
    const mount = () => mountRoutes(express(), [{ ...hook, body: { raw } }], { roles: [], hasRole: async () => false })
    expect(mount).toThrow('raw bodies')
  }
})

test('OpenAPI names the media types and the errors', () => {
  const { paths } = openApi([hook], { title: 'x', version: '1', sessionCookie: 'sid' }) as never as {
    paths: Record<string, { post: { requestBody: unknown; responses: { default: { description: string } } } }>
  }
  const described = paths['/v1/webhooks/paid']?.post
  const schema = { type: 'string', format: 'binary' }
  const content = { 'application/json': { schema }, 'text/plain': { schema } }
  expect(described?.requestBody).toEqual({ required: true, content })
  expect(described?.responses.default.description).toMatch(
    /E_WEBHOOK_SIGNATURE, E_BODY_TOO_LARGE, E_UNSUPPORTED_MEDIA_TYPE/,
  )
})
