import type { Cache } from '@escala/kit/cache/cache'
import type { Redis } from 'ioredis'
import type { Parts } from '../../apps/api/src/parts.ts'

/** Cache-aside as every tutorial has it: look, else load and keep. Shared by all replicas already. */
export function createCacheAside(redis: Redis): Cache {
  return {
    scope: 'cluster',
    async get(key, { load, freshMs }) {
      const found = await redis.get(`aside:${key}`)
      if (found !== null) return JSON.parse(found)
      const value = await load(new AbortController().signal)
      if (value !== undefined) await redis.set(`aside:${key}`, JSON.stringify(value), 'PX', freshMs)
      return value
    },
    async invalidate(key) {
      await redis.del(`aside:${key}`)
    },
    degraded: () => undefined,
    stop: async () => {},
  }
}

export const apiParts: Partial<Parts> = {
  cache: ({ cacheRedis }) => createCacheAside(cacheRedis),
}
