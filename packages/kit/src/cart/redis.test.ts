import { randomUUID } from 'node:crypto'
import { afterAll, expect, inject, test } from 'vitest'
import { createLog } from '../log/log.ts'
import { createRedis, stopRedis } from '../redis/redis.ts'
import { describeCarts } from './cart.contract.ts'
import { createRedisCarts } from './redis.ts'

const log = createLog({ service: 'test', replicaId: 't', version: '0', level: 'silent' })
// Long: how fast a busy machine answers is not what these tests are about.
const connect = () => createRedis({ url: inject('redisUrl'), role: 'request', log, timeoutMs: 5000 })
const clients = [connect(), connect()] as const
await Promise.all(clients.map((redis) => new Promise((resolve) => redis.once('ready', resolve))))
afterAll(() => Promise.all(clients.map(stopRedis)))

describeCarts('carts in Redis', (options) => {
  const prefix = `test:${randomUUID()}:`
  const [first, second] = clients
  return {
    replicas: [
      createRedisCarts({ redis: first, prefix, ...options }),
      createRedisCarts({ redis: second, prefix, ...options }),
    ],
  }
})

test('without Redis: E_REDIS_UNAVAILABLE', async () => {
  const redis = createRedis({ url: 'redis://127.0.0.1:1', role: 'request', log })
  const carts = createRedisCarts({ redis })
  await expect(carts.get('a')).rejects.toMatchObject({ code: 'E_REDIS_UNAVAILABLE' })
  await expect(carts.put('a', 'b', 1)).rejects.toMatchObject({ code: 'E_REDIS_UNAVAILABLE' })
  await stopRedis(redis)
})
