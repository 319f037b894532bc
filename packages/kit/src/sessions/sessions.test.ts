import { randomUUID } from 'node:crypto'
import { startFaultProxy } from '@escala/testing/fault-proxy'
import { afterAll, expect, inject, test } from 'vitest'
import { createLog } from '../log/log.ts'
import { createRedis, stopRedis } from '../redis/redis.ts'
import { createRedisSessions } from './redis.ts'
import { createBrowser, describeSessions, serveSessions } from './sessions.contract.ts'
import type { SessionStore, SessionStoreOptions } from './sessions.ts'
import { describeUserSessions } from './user-sessions.contract.ts'

const log = createLog({ service: 'test', replicaId: 't', version: '0', level: 'silent' })
// Long: how fast a busy machine answers is not what these tests are about.
const connect = async (url = inject('redisUrl'), timeoutMs = 5000) => {
  const redis = createRedis({ url, role: 'request', log, timeoutMs })
  await new Promise((resolve) => redis.once('ready', resolve))
  return redis
}
const clients = [await connect(), await connect()] as const
afterAll(() => Promise.all(clients.map(stopRedis)))

const create = (options: SessionStoreOptions = {}): [SessionStore, SessionStore] => {
  const prefix = `test:${randomUUID()}:`
  return [
    createRedisSessions({ redis: clients[0], prefix, ...options }),
    createRedisSessions({ redis: clients[1], prefix, ...options }),
  ]
}

describeSessions('sessions in Redis', create)
describeUserSessions('lists of sessions in Redis', create)

test('one command for a request with a cookie, none for one without', async () => {
  const redis = await connect()
  const { url } = await serveSessions(createRedisSessions({ redis, prefix: `test:${randomUUID()}:` }))
  const sent: string[] = []
  const { sendCommand } = redis
  redis.sendCommand = (command, ...rest) => {
    sent.push(command.name)
    return sendCommand.call(redis, command, ...rest)
  }
  const browser = createBrowser()
  await browser.send('GET', `${url}/me`)
  browser.use('sid=s%3Aforged.forged')
  await browser.send('GET', `${url}/me`)
  expect(sent).toEqual([])
  await browser.send('POST', `${url}/log-in/u1`)
  sent.length = 0
  for (let i = 0; i < 5; i++) await browser.send('GET', `${url}/me`)
  expect(sent).toEqual(Array(5).fill('evalsha'))
  await stopRedis(redis)
})

test('a record ends with the idle time, not with its cookie; no key is without an end', async () => {
  const prefix = `test:${randomUUID()}:`
  const { url } = await serveSessions(createRedisSessions({ redis: clients[0], prefix, idleMs: 60_000 }))
  const browser = createBrowser()
  await browser.send('POST', `${url}/log-in/u1`)
  const [key = ''] = await clients[0].keys(`{${prefix}*`)
  expect(await clients[0].pttl(key)).toBeGreaterThan(50_000)
  expect(await clients[0].pttl(key)).toBeLessThanOrEqual(60_000)
  await clients[0].pexpire(key, 58_000) // less than a tenth has passed: a read does not write
  await browser.send('GET', `${url}/me`)
  expect(await clients[0].pttl(key)).toBeLessThanOrEqual(58_000)
  await clients[0].pexpire(key, 50_000)
  await browser.send('GET', `${url}/me`)
  expect(await clients[0].pttl(key)).toBeGreaterThan(58_000)
  await browser.send('POST', `${url}/log-out`)
  const left = await clients[0].keys(`{${prefix}*`)
  expect(left).toEqual([`${key}:ended`])
  expect(await clients[0].pttl(`${key}:ended`)).toBeGreaterThan(0)
})

test.each(['refuse', 'hang'] as const)('Redis that does not answer (%s): never anonymous on a write', async (fault) => {
  await using proxy = await disposable(await startFaultProxy({ target: inject('redisUrl') }))
  const redis = await connect(proxy.url, 300)
  const { url } = await serveSessions(createRedisSessions({ redis, prefix: `test:${randomUUID()}:` }))
  const browser = createBrowser()
  await browser.send('POST', `${url}/log-in/u1`)
  await proxy[fault]()
  const began = performance.now()
  expect((await browser.send('GET', `${url}/me`)).body).toMatchObject({ userId: null, unavailable: true })
  expect(await browser.send('POST', `${url}/log-out`)).toMatchObject({
    status: 503,
    body: { code: 'E_REDIS_UNAVAILABLE' },
  })
  expect((await createBrowser().send('POST', `${url}/log-in/u2`)).status).toBe(503) // the save fails: no 200
  expect((await createBrowser().send('GET', `${url}/me`)).status).toBe(200)
  expect(performance.now() - began).toBeLessThan(2000)
  await proxy.heal()
  await expect.poll(async () => (await browser.send('GET', `${url}/me`)).body.userId, { timeout: 5000 }).toBe('u1')
  await stopRedis(redis)
})

test('a session that is one too many stays in the list until its record has ended', async () => {
  const redis = await connect()
  const prefix = `test:${randomUUID()}:`
  const sessions = createRedisSessions({ redis, prefix, maxPerUser: 1 })
  const { url } = await serveSessions(sessions)
  const browser = createBrowser()
  await browser.send('POST', `${url}/log-in/u1`)
  const [oldest] = await sessions.ofUser.list('u1')
  const { evalsha } = redis
  // The end of a record, the only script with these two keys, is lost.
  redis.evalsha = ((...given: unknown[]) =>
    given[1] === 2 && String(given[2]).includes(oldest?.id as string)
      ? Promise.reject(new Error('the connection is lost'))
      : evalsha.apply(redis, given as Parameters<typeof evalsha>)) as typeof evalsha
  const next = { id: randomUUID(), createdAt: Date.now() + 1, userAgent: '', origin: '' }
  await expect(sessions.ofUser.add('u1', next)).rejects.toMatchObject({ code: 'E_REDIS_UNAVAILABLE' })
  redis.evalsha = evalsha
  expect((await browser.send('GET', `${url}/me`)).body.userId).toBe('u1')
  expect(await sessions.ofUser.list('u1')).toMatchObject([{ id: oldest?.id }])
  await sessions.ofUser.endAll('u1')
  expect((await browser.send('GET', `${url}/me`)).body.userId).toBeNull()
  await stopRedis(redis)
})

async function disposable<T extends { stop(): Promise<void> }>(thing: T): Promise<T & AsyncDisposable> {
  return Object.assign(thing, { [Symbol.asyncDispose]: () => thing.stop() })
}
