import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import express from 'express'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { requestContext } from '../http/request-context.ts'
import { startTracing } from './start.ts'
import { carriedTracing, type Tracing } from './tracing.ts'

const given = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
const on = (ratio = 1) =>
  startTracing({
    endpoint: 'http://127.0.0.1:1',
    ratio,
    appName: 'test',
    service: 'test',
    replicaId: 'test',
    version: '0',
  })

/** What a request's work finds, for each header, from a proxy that is trusted or not. */
async function found(tracing: Tracing, headers: string[], trustProxy = true) {
  const app = express()
  app.set('trust proxy', trustProxy ? 1 : false)
  const log = pino({ level: 'silent' })
  app.use(requestContext({ log, replicaId: 'test', exposeReplica: false, deadlineMs: 1000, tracing }))
  app.use((req, res) => void res.send(req.traceparent ?? 'none'))
  const server = createServer(app).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  const answers = headers.map(async (traceparent) => (await fetch(url, { headers: { traceparent } })).text())
  return await Promise.all(answers).finally(() => server.close())
}

test('a traceparent is believed from the proxy, when it is well-formed', async () => {
  expect(await found(carriedTracing, [given])).toEqual([given])
  expect(await found(carriedTracing, [given], false)).toEqual(['none'])
  const malformed = [
    '',
    'x',
    given.toUpperCase(),
    `${given}-more`,
    `01${given.slice(2)}`,
    given.replaceAll('a', '0'),
    given.replaceAll('b', '0'),
  ]
  expect(await found(carriedTracing, malformed)).toEqual(malformed.map(() => 'none'))
})

test('a request is a span of the trace that it came with, or begins one', async () => {
  const tracing = await on()
  const [child] = await found(tracing, [given])
  expect(child).toMatch(/^00-a{32}-(?!b{16})[0-9a-f]{16}-01$/)
  const [first, second] = await found(tracing, ['', ''])
  for (const root of [first, second]) expect(root).toMatch(/^00-(?!a{32})[0-9a-f]{32}-[0-9a-f]{16}-01$/)
  expect(first).not.toBe(second)
})

test('the trace id decides what is kept, and a parent that is not kept is obeyed', async () => {
  const flags = async (tracing: Tracing, traceparent?: string) =>
    (await tracing.span({ name: 'x', kind: 'server', traceparent }, async (span) => span.traceparent))?.slice(-2)
  expect(await flags(await on(0), given)).toBe('00')
  expect(await flags(await on(0))).toBe('00')
  expect(await flags(await on(), given.replace(/01$/, '00'))).toBe('00')
  expect(await flags(await on(), given)).toBe('01')
})

test('a client is a part of what calls it, and no span outside of any', async () => {
  const tracing = await on()
  const client = (traceparent?: string) =>
    tracing.span({ name: 'query', kind: 'client', traceparent }, async (span) => span.traceparent)
  expect(await client()).toBeUndefined()
  expect(await client(given)).toMatch(/^00-a{32}/)
  expect(await tracing.span({ name: 'job', kind: 'consumer', traceparent: given }, () => client())).toMatch(/^00-a{32}/)
  const failed = tracing.span({ name: 'x', kind: 'consumer' }, () => Promise.reject(new Error('as it is')))
  await expect(failed).rejects.toThrow('as it is')
})
