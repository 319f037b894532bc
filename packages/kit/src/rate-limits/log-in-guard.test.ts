import { randomUUID } from 'node:crypto'
import { afterAll, expect, inject, test, vi } from 'vitest'
import { createLog } from '../log/log.ts'
import { createRedis, stopRedis } from '../redis/redis.ts'
import { createLogInGuard, type LogInTry } from './log-in-guard.ts'

const log = createLog({ service: 'test', replicaId: 't', version: '0', level: 'silent' })
// Long: how fast a busy machine answers is not what these tests are about.
const connect = () => createRedis({ url: inject('redisUrl'), role: 'request', log, timeoutMs: 5000 })
const clients = [connect(), connect()] as const
await Promise.all(clients.map((redis) => new Promise((resolve) => redis.once('ready', resolve))))
afterAll(() => Promise.all(clients.map(stopRedis)))

function create(options: { limit?: number; windowMs?: number; knownMs?: number } = {}) {
  const prefix = `test:${randomUUID()}:`
  const guards = clients.map((redis) => createLogInGuard({ redis, prefix, limit: 3, ...options }))
  let calls = 0
  const begin = (attempt: Partial<LogInTry> = {}) =>
    guards[calls++ % 2]?.begin({ account: 'ann', address: 'stranger', ...attempt }) ?? Promise.reject()
  return { begin, keys: () => clients[0].keys(`${prefix}*`) }
}
const refused = { code: 'E_RATE_LIMITED' }

test('counts the failures of one account over both replicas, at once too', async () => {
  const { begin } = create()
  const results = await Promise.allSettled(Array.from({ length: 10 }, () => begin()))
  expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(3)
  await expect(begin({ address: 'elsewhere' })).rejects.toMatchObject(refused)
  await begin({ account: 'bob' })
})

test('a success and what was not looked at are no failures', async () => {
  const { begin } = create()
  for (let i = 0; i < 5; i++) await (await begin()).giveBack()
  for (let i = 0; i < 5; i++) await (await begin({ address: 'home' })).succeeded()
  for (let i = 0; i < 3; i++) await begin()
  await expect(begin()).rejects.toMatchObject(refused)
})

test('a known address and a known device are let in beyond the limit of strangers, each with a limit of its own', async () => {
  const { begin } = create()
  await (await begin({ address: 'home' })).succeeded()
  for (let i = 0; i < 3; i++) await begin()
  await expect(begin()).rejects.toMatchObject(refused)
  for (const known of [{ address: 'home' }, { device: 'phone' }, { device: 'laptop' }]) {
    for (let i = 0; i < 3; i++) await begin(known)
    await expect(begin(known)).rejects.toMatchObject(refused)
  }
})

test('an address is known for its time only, and the last twenty are', async () => {
  const { begin } = create({ limit: 1 })
  for (let i = 0; i < 21; i++) await (await begin({ address: `a${i}` })).succeeded()
  await begin()
  await expect(begin({ address: 'a0' })).rejects.toMatchObject(refused)
  for (let i = 1; i < 21; i++) await begin({ address: `a${i}` })

  const short = create({ limit: 1, knownMs: 50 })
  await (await short.begin({ address: 'home' })).succeeded()
  await short.begin()
  await vi.waitFor(() => expect(short.begin({ address: 'home' })).rejects.toMatchObject(refused))
})

test('the window ends, and nothing stays', async () => {
  const { begin, keys } = create({ limit: 1, windowMs: 60, knownMs: 60 })
  await (await begin({ address: 'home' })).succeeded()
  await begin()
  await expect(begin()).rejects.toMatchObject(refused)
  await vi.waitFor(async () => expect(await keys()).toEqual([]))
  const late = await begin()
  await vi.waitFor(async () => expect(await keys()).toEqual([]))
  await late.giveBack() // creates no counter without an end
  expect(await keys()).toEqual([])
})
