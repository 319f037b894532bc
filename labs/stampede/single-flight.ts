import type { Cache } from '@escala/kit/cache/cache'
import type { Parts } from '../../apps/api/src/parts.ts'
import { createCacheAside } from './naive.ts'

/** The well-known solution: a reader that arrives while a load runs waits for its result. Within one process. */
function withSingleFlight(cache: Cache): Cache {
  const running = new Map<string, Promise<unknown>>()
  return {
    ...cache,
    get<T>(key: string, reading: Parameters<typeof cache.get<T>>[1]) {
      const result = running.get(key) ?? cache.get(key, reading).finally(() => running.delete(key))
      running.set(key, result)
      return result as Promise<T | undefined>
    },
  }
}

export const apiParts: Partial<Parts> = {
  cache: ({ cacheRedis }) => withSingleFlight(createCacheAside(cacheRedis)),
}
