import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDriver } from '@escala/testing/environment'
import { Redis } from 'ioredis'
import { afterEach, beforeEach, expect, inject, test, vi } from 'vitest'
import { createLog } from '../log/log.ts'
import { describeFailure } from './failure.ts'
import { createRedis, stopRedis } from './redis.ts'
import { readRedisFacts, watchRedis } from './watch.ts'

const stops: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop()
})

let lines: { level: string; msg: string; reason?: string }[]
beforeEach(() => {
  lines = []
})
const log = createLog({
  service: 'test',
  replicaId: 't',
  version: '0',
  destination: { write: (line) => void lines.push(JSON.parse(line)) },
})

async function startServer(settings: Record<string, string> = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'escala-facts-'))
  stops.push(() => rm(folder, { recursive: true, force: true }))
  const server = await (await createDriver(inject('driver'))).startRedis(folder, settings)
  const admin = new Redis(server.url)
  stops.push(server.stop, async () => admin.disconnect())
  return { url: server.url, admin }
}

function watch(url: string, keepsState = true) {
  const redis = createRedis({ url, role: 'request', log })
  stops.push(() => stopRedis(redis))
  return watchRedis(redis, { variable: 'REDIS_URL', log, keepsState, strict: true })
}
const soon = () => AbortSignal.timeout(5000)
const as = (url: string, user: string) => url.replace('//', `//${user}@`)

test('a password that is refused is loud, named without itself, and waited for', async () => {
  const { url, admin } = await startServer()
  await admin.config('SET', 'requirepass', 'right')
  const watched = watch(as(url, ':wr0ng'))
  const checked = watched.check(soon())
  const problem = 'REDIS_URL was never reached: it refuses the user or the password (WRONGPASS)'
  await vi.waitFor(() => expect(watched.problem()).toBe(problem), 3000)
  await vi.waitFor(() =>
    expect(lines.map(({ level, msg }) => [level, msg])).toEqual([['error', 'redis refuses this process']]),
  )
  expect(JSON.stringify(lines)).not.toContain('wr0ng')
  await admin.config('SET', 'requirepass', 'wr0ng')
  await checked
  await vi.waitFor(() => expect(watched.problem()).toBeUndefined())
})

test('no password where one is needed, and an unknown user', async () => {
  const { url, admin } = await startServer()
  await admin.config('SET', 'requirepass', 'right')
  const problem = (address: string) => {
    const watched = watch(address)
    return vi.waitFor(() => expect(watched.problem()).not.toContain('no answer yet'), 5000).then(watched.problem)
  }
  expect(await problem(url)).toBe('REDIS_URL was never reached: it refuses the user or the password (NOAUTH)')
  expect(await problem('redis://no-such-host.invalid')).toMatch(
    /its name cannot be resolved \((ENOTFOUND|EAI_AGAIN)\)$/,
  )
})

test('a server that may grow without end is warned of', async () => {
  const { url, admin } = await startServer()
  await watch(url, false).check(soon())
  const unbounded = 'the state redis has no maxmemory: it grows until the machine runs out of memory'
  expect(lines.map(({ msg }) => msg)).not.toContain(unbounded) // a cache's operator knows
  await admin.config('SET', 'maxmemory-policy', 'noeviction')
  await watch(url).check(soon())
  expect(lines.map(({ msg }) => msg)).toContain(unbounded)
  lines = []
  await admin.config('SET', 'maxmemory', '100mb')
  await watch(url).check(soon())
  expect(lines.map(({ msg }) => msg)).not.toContain(unbounded)
  expect(await readRedisFacts(admin)).toMatchObject({ maxBytes: 100 * 1024 ** 2, usedBytes: expect.any(Number) })
})

test('an outage after the first connection is not a reason to be unready', async () => {
  const { url, admin } = await startServer()
  const watched = watch(url)
  await watched.check(soon())
  await admin.config('SET', 'requirepass', 'new')
  await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await vi.waitFor(() => expect(lines.map(({ msg }) => msg)).toContain('redis refuses this process'), 3000)
  expect(watched.problem()).toBeUndefined()
})

test('a start that ends while it waits does not wait on', async () => {
  const watched = watch('redis://127.0.0.1:1')
  await watched.check(AbortSignal.timeout(50))
  expect(watched.problem()).toBe('REDIS_URL was never reached: it cannot be reached (ECONNREFUSED)')
})

test('a read-only replica has not been reached: a failover may be under way', async () => {
  const { url, admin } = await startServer()
  await admin.replicaof('127.0.0.1', 1)
  const watched = watch(url)
  const checked = watched.check(soon())
  const problem = 'REDIS_URL was never reached: it is a read-only replica of another server'
  await vi.waitFor(() => expect(watched.problem()).toBe(problem), 3000)
  await admin.replicaof('NO', 'ONE')
  await checked
  await vi.waitFor(() => expect(watched.problem()).toBeUndefined(), 3000)
})

test('a numbered database that is not there is refused, and not taken for number 0', async () => {
  const { url } = await startServer()
  await expect(watch(`${url}/99`).check(soon())).rejects.toMatchObject({ code: 'E_REDIS_UNSUPPORTED' })
})

test.each([true, false])('a node of a cluster is refused by name; keeps state: %s', async (keepsState) => {
  const { url } = await startServer({ 'cluster-enabled': 'yes' })
  const watched = watch(url, keepsState)
  await expect(watched.check(soon())).rejects.toMatchObject({
    code: 'E_REDIS_UNSUPPORTED',
    message: expect.stringContaining('REDIS_URL leads to a node of a Redis Cluster, which is not supported'),
  })
  expect(watched.problem()).toContain('Redis Cluster')
})

test('a Sentinel is refused by name', async () => {
  const sentinel = createServer((socket) => {
    socket.on('error', () => undefined)
    // As one answers: HELLO as to any, and INFO with its mode.
    const info = '# Server\r\nredis_version:7.0.15\r\nredis_mode:sentinel\r\n'
    socket.on('data', (data) => {
      for (const [, name] of data.toString().matchAll(/\$\d+\r\n(hello|client|info|ping)\r\n/gi)) {
        if (name?.toLowerCase() === 'info') socket.write(`$${info.length}\r\n${info}\r\n`)
        else socket.write(name?.toLowerCase() === 'hello' ? '%1\r\n+proto\r\n:3\r\n' : '+OK\r\n')
      }
    })
  }).listen(0, '127.0.0.1')
  await vi.waitFor(() => expect(sentinel.listening).toBe(true))
  stops.push(async () => sentinel.close())
  const watched = watch(`redis://127.0.0.1:${(sentinel.address() as { port: number }).port}`)
  await expect(watched.check(soon())).rejects.toMatchObject({
    code: 'E_REDIS_UNSUPPORTED',
    message: expect.stringContaining('a Sentinel'),
  })
})

test('a user without INFO: the error names the missing command; the cache does without', async () => {
  const { url, admin } = await startServer()
  await admin.acl('SETUSER', 'limited', 'on', '>pw', '~*', '&*', '+@all', '-info')
  await expect(watch(as(url, 'limited:pw')).check(soon())).rejects.toMatchObject({
    code: 'E_REDIS_PERMISSION',
    message: expect.stringContaining('may not run INFO'),
  })
  const cache = watch(as(url, 'limited:pw'), false)
  await cache.check(soon())
  expect(cache.problem()).toBeUndefined()
})

test.each([
  ['SELF_SIGNED_CERT_IN_CHAIN', 'its certificate is not trusted (SELF_SIGNED_CERT_IN_CHAIN)'],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'its certificate is not trusted (UNABLE_TO_VERIFY_LEAF_SIGNATURE)'],
  ['ERR_TLS_CERT_ALTNAME_INVALID', 'its certificate is not trusted (ERR_TLS_CERT_ALTNAME_INVALID)'],
  ['ERR_SSL_WRONG_VERSION_NUMBER', 'it does not speak TLS as asked (ERR_SSL_WRONG_VERSION_NUMBER)'],
])('%s in words', (code, reason) => {
  expect(describeFailure(Object.assign(new Error('redis://:secret@host'), { code }))).toEqual({
    reason,
    isRefusal: false,
  })
})
