import type { Logger } from '../log/log.ts'
import type { Cache, FirstTierOptions, Reading } from './cache.ts'
import { createFirstTier, type Entry, type Flight } from './first-tier.ts'
import { createLoader, lifeOf } from './loader.ts'

export interface MemoryCacheOptions extends FirstTierOptions {
  log: Logger
  maxLoads?: number
}

/** Values in this process: every replica loads its own, and an invalidation reaches this one only. */
export function createMemoryCache({ log, maxLoads = 20, ...bounds }: MemoryCacheOptions): Cache {
  const tier = createFirstTier(bounds)
  const load = createLoader(maxLoads)
  const background = new Set<Promise<unknown>>()

  const fill = async (key: string, reading: Reading<unknown>, flight: Flight): Promise<Entry> => {
    const old = tier.find(key)
    try {
      let loaded = await load(reading)
      for (let tries = 1; tries < 3 && tier.isOlder(key, loaded.version); tries++) loaded = await load(reading)
      if (tier.isOlder(key, loaded.version)) tier.accept(key)
      const { freshMs, staleMs } = lifeOf(reading, loaded)
      const freshUntil = performance.now() + freshMs
      return tier.keep(key, loaded.text, flight, {
        version: loaded.version,
        freshUntil,
        staleUntil: freshUntil + staleMs,
      })
    } catch (error) {
      if (old && tier.find(key) === old && performance.now() < old.staleUntil) return old
      throw error
    }
  }

  return {
    scope: 'process',
    async get<T>(key: string, reading: Reading<T>) {
      const entry = tier.find(key)
      const now = performance.now()
      if (entry && now < entry.freshUntil) return entry.value as T | undefined
      const flight = tier.fly(key, (flight) => fill(key, reading as Reading<unknown>, flight))
      if (!entry || now >= entry.staleUntil) return (await flight).value as T | undefined
      const settled = flight.catch((err) => log.warn({ err, key }, 'cache refresh failed'))
      background.add(settled)
      void settled.finally(() => background.delete(settled))
      return entry.value as T | undefined
    },
    async invalidate(key, version) {
      tier.invalidate(key, version)
    },
    degraded: () => undefined,
    async stop() {
      await Promise.all(background)
    },
  }
}
