import { createClient } from '@escala/testing/client'
import type { Cluster } from '@escala/testing/cluster'
import { Redis } from 'ioredis'
import { until } from '../recovery.ts'
import type { State } from './matrix.ts'

export interface Fault {
  /** What happens to Redis, as its clients see it. */
  state: State
  begin(cluster: Cluster): unknown
  /** Default: the proxy heals. */
  end?(cluster: Cluster): unknown
  /** Over before anything is asked: what it leaves is what is to be seen. */
  isShort?: boolean
  /** Redis is there, only far: what a route with three waits in a row, the log-in, takes longer than a lost Redis may cost. */
  slowerMs?: number
}

export const faults: Record<string, Fault> = {
  'refused at boot': { state: 'boot', begin: bootWithout },
  refused: { state: 'away', begin: ({ redisProxy }) => redisProxy.refuse() },
  hung: { state: 'away', begin: ({ redisProxy }) => redisProxy.hang() },
  reset: { state: 'away', begin: ({ redisProxy }) => redisProxy.reset() },
  '300 ms away': { state: 'slow', begin: ({ redisProxy }) => redisProxy.delay(150), slowerMs: 500 }, // 150 in each direction
  'restarted empty': { state: 'empty', begin: restartEmpty, isShort: true },
  'read-only': { state: 'read-only', begin: demote, end: promote },
}

/** A replica and the workers restart while there is no Redis. They wait for it, unready and alive; the other replicas serve. */
async function bootWithout({ url, redisProxy, replicas, workers }: Cluster): Promise<void> {
  await redisProxy.refuse()
  const restarted = [...replicas.slice(0, 1), ...workers]
  for (const process of restarted) void process.restart().catch(() => undefined) // ready when Redis is back
  await Promise.all(restarted.map(({ id, internalUrl }) => until(`${id} lives`, () => answers(`${internalUrl}/livez`))))
  await until('NGINX has found out which replicas serve', async () => {
    const all = await Promise.all(Array.from({ length: 3 * replicas.length }, () => answers(`${url}/v1/openapi.json`)))
    return !all.includes(false)
  })
}

/** What the crash of a Redis without a file leaves: no connection, no data, no scripts. */
async function restartEmpty({ redisProxy, redisUrl }: Cluster): Promise<void> {
  await redisProxy.refuse()
  await administer(redisUrl, async (redis) => {
    await redis.flushall()
    await redis.script('FLUSH')
  })
  await redisProxy.heal()
}

/** As a failover does to the old primary: it lives on as a replica, and who is still connected may read and not write. */
async function demote({ redisUrl }: Cluster): Promise<void> {
  await administer(redisUrl, (redis) => redis.replicaof('127.0.0.1', 1))
}

async function promote({ redisUrl }: Cluster): Promise<void> {
  await administer(redisUrl, (redis) => redis.replicaof('NO', 'ONE'))
}

async function answers(url: string): Promise<boolean> {
  return (await createClient(url, { keepAlive: false }).get('')).status === 200
}

async function administer(url: string, work: (redis: Redis) => Promise<unknown>): Promise<void> {
  const redis = new Redis(url)
  await work(redis)
  redis.disconnect()
}
