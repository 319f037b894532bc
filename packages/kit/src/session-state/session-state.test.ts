import { randomUUID } from 'node:crypto'
import { afterAll, expect, inject, test } from 'vitest'
import { createLog } from '../log/log.ts'
import { createRedis, stopRedis } from '../redis/redis.ts'
import { createRedisSessionState } from './redis.ts'
import { describeSessionState } from './session-state.contract.ts'

const log = createLog({ service: 'test', replicaId: 't', version: '0', level: 'silent' })
// Long: how fast a busy machine answers is not what these tests are about.
const connect = () => createRedis({ url: inject('redisUrl'), role: 'request', log, timeoutMs: 5000 })
const clients = [connect(), connect()] as const
await Promise.all(clients.map((redis) => new Promise((resolve) => redis.once('ready', resolve))))
afterAll(() => Promise.all(clients.map(stopRedis)))

describeSessionState('session state in Redis', () => {
  const prefix = `test:${randomUUID()}:`
  const [first, second] = clients
  return [createRedisSessionState({ redis: first, prefix }), createRedisSessionState({ redis: second, prefix })]
})

test('a name that leads to the keys of something else is refused', () => {
  const state = createRedisSessionState({ redis: clients[0], taken: ['session'] })
  expect(() => state.open('session')).toThrow(expect.objectContaining({ code: 'E_MODULE' }))
})

test('without Redis: E_REDIS_UNAVAILABLE', async () => {
  const redis = createRedis({ url: 'redis://127.0.0.1:1', role: 'request', log })
  const records = createRedisSessionState({ redis }).open('notes')
  await expect(records.get('a')).rejects.toMatchObject({ code: 'E_REDIS_UNAVAILABLE' })
  await expect(records.put('a', 'b', '1')).rejects.toMatchObject({ code: 'E_REDIS_UNAVAILABLE' })
  await stopRedis(redis)
})
