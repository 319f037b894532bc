import { randomBytes } from 'node:crypto'
import { createLog } from '@escala/kit/log/log'
import { createRedis, stopRedis } from '@escala/kit/redis/redis'
import { type Client, createClient } from '@escala/testing/client'
import { openRaw } from '@escala/testing/raw'
import { afterAll, beforeAll, expect, inject, test, vi } from 'vitest'
import type { Api } from './compose.ts'
import { startTestReplica } from './test-replica.ts'

const name = `shop-${randomBytes(4).toString('hex')}`
const page = 'https://api.example.com/errors'
let replica: Api
let client: Client

beforeAll(async () => {
  const servers = { postgresUrl: inject('postgresUrl'), redisUrl: inject('redisUrl') }
  replica = await startTestReplica({ ...servers, env: { APP_NAME: name, PROBLEM_BASE_URL: page } })
  client = createClient(`http://127.0.0.1:${replica.port()}`)
})
afterAll(async () => {
  client.close()
  await replica.stop()
})

test('an application of another name keeps its keys apart', async () => {
  const { email } = await client.signUp()
  await client.logIn(email, 'a password of a lab')
  expect((await client.get('/v1/session')).status).toBe(200)
  const log = createLog({ service: 'test', replicaId: 'test', version: '', level: 'silent' })
  const redis = createRedis({ url: inject('redisUrl'), role: 'request', log, timeoutMs: 5000 })
  try {
    await vi.waitFor(() => expect(redis.status).toBe('ready'))
    const keys = await redis.keys('*') // of every test that runs
    const session = /s:([^.]+)\./.exec(decodeURIComponent(client.cookies.get('sid') ?? ''))?.[1] ?? 'none'
    const own = keys.filter((key) => key.includes(session))
    expect(own).toContain(`{${name}:session:${session}}`)
    expect(own.filter((key) => !key.includes(name))).toEqual([])
    for (const kind of ['rate-limit', 'log-in'])
      expect(keys.some((key) => key.startsWith(`${name}:${kind}:`))).toBe(true)
  } finally {
    await stopRedis(redis)
  }
})

test('its problems lead to its own page, those of the parser too', async () => {
  expect((await client.get('/v1/nothing')).body.type).toBe(`${page}#e_not_found`)
  const raw = openRaw(replica.port())
  raw.write('NONSENSE\r\n\r\n')
  await raw.next(new RegExp(`"${page}#e_m`))
})

test('its metrics and its documentation have its name', async () => {
  const metrics = await (await fetch(`http://127.0.0.1:${replica.internalPort()}/metrics`)).text()
  expect(metrics).toContain(`${name.replace('-', '_')}_live_replicas`)
  // sample
  expect(metrics).toContain(`# TYPE ${name.replace('-', '_')}_tickets_orders_total counter`)
  // /sample
  expect(metrics).not.toContain('escala')
  expect((await client.get('/v1/openapi.json')).body.info.title).toBe(name.replace('s', 'S'))
})
