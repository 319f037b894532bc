import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { createRedisLocks } from '@escala/kit/locks/redis'
import { createLog } from '@escala/kit/log/log'
import { createRedis, stopRedis } from '@escala/kit/redis/redis'
import type { Cluster } from '@escala/testing/cluster'

const lateMs = 1500

/**
 * A holder gives its lock back in time, and the network brings that late: when somebody else holds it. Returns whether a third
 * one got it all the same. `hold` resolves when the holder has begun, with the promise of its end.
 */
export async function releaseLate(
  { redisUrl, redisProxy }: Cluster,
  name: string,
  hold: () => Promise<{ ended: Promise<unknown> }>,
): Promise<boolean> {
  const log = createLog({ service: 'lab', replicaId: 'lab', version: '', level: 'silent' })
  const redis = createRedis({ url: redisUrl, role: 'request', log, timeoutMs: 5000 })
  const locks = createRedisLocks({ redis, log })
  try {
    if (redis.status !== 'ready') await once(redis, 'ready')
    const { ended } = await hold()
    redisProxy.delay(lateMs)
    const second = await locks.acquire(name, { leaseMs: 10_000, waitMs: 20_000 })
    await ended
    await wait(lateMs + 500) // by now what the first one sent is there
    const third = await locks.acquire(name, { leaseMs: 1000 })
    await Promise.all([second?.release(), third?.release()])
    return third !== undefined
  } finally {
    await redisProxy.heal()
    await stopRedis(redis)
  }
}
