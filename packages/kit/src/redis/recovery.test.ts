import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { createDriver } from '@escala/testing/environment'
import type { RunningServer, ServerFaults } from '@escala/testing/server-faults'
import { Redis } from 'ioredis'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { createLog } from '../log/log.ts'
import { createRedis, listenTo, type RedisRole, stopRedis } from './redis.ts'

// What a server can do to its clients, each until it is over: every role works again within five seconds of that.
const log = createLog({ service: 'test', replicaId: 't', version: '0', level: 'silent' })
const recoveryMs = 5000
const password = 'right'
let folder: string
let server: RunningServer
let other: RunningServer
let faults: ServerFaults
let admin: Redis
let heard: number
let clients: Record<RedisRole, Redis>
let stops: (() => Promise<void>)[]

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'escala-redis-'))
  const driver = await createDriver('local')
  const settings = { 'maxmemory-policy': 'noeviction', 'enable-debug-command': 'local' }
  server = await driver.startRedis(join(folder, 'one'), settings)
  other = await driver.startRedis(join(folder, 'other'), settings)
  faults = server.faults as ServerFaults
})
afterAll(async () => {
  await Promise.all([server?.stop(), other?.stop()])
  await rm(folder, { recursive: true, force: true })
})

const withPassword = () => server.url.replace('redis://', `redis://:${password}@`)

/** As an operator: over a connection of its own, which knows the password of the moment. */
async function run(...command: [string, ...string[]]) {
  await admin.call(...command)
}

beforeEach(async () => {
  stops = []
  heard = 0
  admin = new Redis(server.url)
  admin.on('error', () => undefined)
  await run('CONFIG', 'SET', 'requirepass', password)
  const connect = (role: RedisRole) => {
    const redis = createRedis({ url: withPassword(), role, log, timeoutMs: 300 })
    stops.push(() => stopRedis(redis))
    return redis
  }
  clients = {
    request: connect('request'),
    blocking: connect('blocking'),
    reader: connect('reader'),
    subscriber: connect('subscriber'),
  }
  const stopListening = listenTo({
    subscriber: clients.subscriber,
    channel: 'news',
    onMessage: () => void heard++,
    onListening: () => undefined,
  })
  stops.push(async () => stopListening())
  await untilAllWork()
})
afterEach(async () => {
  for (const stop of stops.reverse()) await stop()
  await run('CONFIG', 'SET', 'requirepass', '').catch(() => undefined)
  admin.disconnect()
})

/** Resolves when each role has done its work since this was called. */
async function untilAllWork() {
  const { request, blocking, reader } = clients
  const before = heard
  const works = async (redis: Redis) => (await redis.set('key', Date.now()).catch(() => undefined)) === 'OK'
  const reads = async (redis: Redis) => {
    const reply = redis.blpop('nothing', 0.01).then(
      () => true,
      () => false,
    )
    return await Promise.race([reply, wait(1000, false, { ref: false })])
  }
  const listens = async () => {
    await request.publish('news', 'now').catch(() => undefined)
    return heard > before
  }
  const pending = {
    request: () => works(request),
    blocking: () => reads(blocking),
    reader: () => reads(reader),
    listens,
  }
  const missing = new Set(Object.keys(pending))
  const deadline = performance.now() + recoveryMs
  const tryAll = async ([name, work]: [string, () => Promise<boolean>]) => {
    while (missing.has(name) && performance.now() < deadline) {
      if (await work()) missing.delete(name)
      else await wait(20)
    }
  }
  await Promise.all(Object.entries(pending).map(tryAll))
  expect([...missing]).toEqual([])
}

test('stopped for a moment', async () => {
  await faults.pause()
  await wait(1000)
  await faults.resume()
  await untilAllWork()
})

test('stopped for longer than any connection is waited for', async () => {
  await faults.pause()
  await wait(3000)
  await faults.resume()
  await untilAllWork()
}, 20_000)

test('killed, and started again without what it had, and without the password', async () => {
  await faults.crash({ empty: true })
  await untilAllWork()
}, 20_000)

test('another password, and the old one again', async () => {
  await run('CONFIG', 'SET', 'requirepass', 'other')
  await run('CLIENT', 'KILL', 'TYPE', 'normal')
  await run('CLIENT', 'KILL', 'TYPE', 'pubsub')
  await wait(1500)
  await run('CONFIG', 'SET', 'requirepass', password)
  await untilAllWork()
}, 20_000)

test('loading its data after a start: LOADING', async () => {
  await run('DEBUG', 'POPULATE', '1500', 'loaded')
  await run('CONFIG', 'SET', 'loading-process-events-interval-bytes', '1024')
  await run('CONFIG', 'SET', 'key-load-delay', '1000')
  const loading = run('DEBUG', 'RELOAD')
  const answers = new Set<string>()
  while (!(await Promise.race([loading.then(() => true), wait(50, false)])))
    answers.add(await clients.request.get('key').then(String, (error: Error) => error.message.split(' ')[0] ?? ''))
  expect([...answers]).toContain('LOADING')
  await run('FLUSHALL')
  await untilAllWork()
}, 20_000)

test('a user that may do nothing, and then everything again', async () => {
  await run('ACL', 'SETUSER', 'default', '-@all', '+acl', '+config', '+auth', '+hello', 'resetchannels')
  await wait(1500)
  await run('ACL', 'SETUSER', 'default', '+@all', 'allchannels')
  await untilAllWork()
}, 20_000)

test('a replica for a while: READONLY', async () => {
  const { port } = new URL(other.url)
  await run('REPLICAOF', '127.0.0.1', port)
  await wait(1500)
  await run('REPLICAOF', 'NO', 'ONE')
  await untilAllWork()
}, 20_000)

test('a replica that has lost its primary: MASTERDOWN', async () => {
  await run('CONFIG', 'SET', 'replica-serve-stale-data', 'no')
  await run('REPLICAOF', '127.0.0.1', '1')
  await wait(1500)
  await run('REPLICAOF', 'NO', 'ONE')
  await run('CONFIG', 'SET', 'replica-serve-stale-data', 'yes')
  await untilAllWork()
}, 20_000)

test('out of memory: OOM', async () => {
  await run('CONFIG', 'SET', 'maxmemory', '1')
  await wait(1000)
  await run('CONFIG', 'SET', 'maxmemory', '0')
  await untilAllWork()
}, 20_000)

test('a slow script: BUSY', async () => {
  const script = `local stop = redis.call('TIME')[1] + 2; while redis.call('TIME')[1] + 0 < stop do end`
  await run('CONFIG', 'SET', 'busy-reply-threshold', '50')
  const other = new Redis(withPassword())
  await other.eval(script, 0)
  other.disconnect()
  await untilAllWork()
}, 20_000)

test('connections ended by the server, more than once', async () => {
  for (let i = 0; i < 5; i++) {
    await run('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    await run('CLIENT', 'KILL', 'TYPE', 'pubsub')
    await wait(100)
  }
  await untilAllWork()
}, 20_000)
