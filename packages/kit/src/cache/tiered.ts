import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import type { Redis } from 'ioredis'
import { AppError } from '../errors/app-error.ts'
import { kitErrors } from '../errors/errors.ts'
import type { Logger } from '../log/log.ts'
import { listenTo } from '../redis/redis.ts'
import type { Cache, FirstTierOptions, Reading } from './cache.ts'
import { createFirstTier, type Entry, type Flight } from './first-tier.ts'
import { createInvalidations } from './invalidations.ts'
import { createLoader, defaultLoadTimeoutMs, type Loaded, lifeOf } from './loader.ts'
import { createSharedTier } from './shared-tier.ts'

export interface TieredCacheOptions {
  /** A connection of the role `request`. */
  redis: Redis
  /** A connection of the role `subscriber`. */
  subscriber: Redis
  log: Logger
  /** `maxAgeMs`: what a lost message costs, since a value is looked up again after that. */
  l1: FirstTierOptions & { maxAgeMs: number }
  prefix?: string
  /** Loads in this process at once. */
  maxLoads?: number
  /** How long others wait for a process that died while it loaded. */
  lockMs?: number
  /** So many invalidations wait for Redis one by one; beyond them, everything is invalidated once it is back. Default: 10,000. */
  maxPending?: number
}

// How long a Redis that has just failed is not called.
const awayMs = 1000
// A value past its freshness is looked up again this soon: by then, a process has probably loaded the new one.
const recheckMs = 25

/**
 * First the process's own memory, then Redis, then the load: one at a time for all processes. Look-ups of a key cost nothing
 * for `l1.maxAgeMs`, then one round trip; a load costs two. Open on failure: without Redis every process loads for itself.
 */
export function createTieredCache(options: TieredCacheOptions): Cache {
  const { redis, subscriber, log, l1, prefix = 'escala:cache', maxLoads = 20, lockMs = 1000 } = options
  const tier = createFirstTier(l1)
  const shared = createSharedTier({ redis, prefix, lockMs, traceMs: 60_000 })
  const load = createLoader(maxLoads)
  const background = new Set<Promise<unknown>>()
  let awayUntil = 0

  const away = (err: unknown) => {
    if (performance.now() > awayUntil) log.warn({ err }, 'cache continues without redis')
    awayUntil = performance.now() + awayMs
  }
  const behind = (work: Promise<unknown>) => {
    const settled = work.catch(() => undefined).finally(() => background.delete(settled))
    background.add(settled)
  }
  const invalidations = createInvalidations({
    send: shared.invalidate,
    sendAll: shared.invalidateAll,
    failed: away,
    maxPending: options.maxPending,
    overflowed: () => log.warn('too many invalidations wait for redis: the whole cache is invalidated once it is back'),
  })

  const loadNotOlder = async (key: string, reading: Reading<unknown>): Promise<Loaded & { wentBack: boolean }> => {
    // A load that began before a commit of which this process has heard since is repeated. The third time the source is right:
    // a failover has lost commits, and its versions went back.
    for (let tries = 1; ; tries++) {
      const loaded = await load(reading)
      if (!tier.isOlder(key, loaded.version)) return { ...loaded, wentBack: false }
      if (tries < 3) continue
      tier.accept(key)
      return { ...loaded, wentBack: true }
    }
  }

  const fill = async (key: string, reading: Reading<unknown>, flight: Flight, token?: string): Promise<Entry> => {
    const old = tier.find(key)
    const holding = token && setInterval(() => shared.prolong(key, token).catch(away), lockMs / 3)
    try {
      const loaded = await loadNotOlder(key, reading)
      const { text, version, wentBack } = loaded
      const { freshMs, staleMs } = lifeOf(reading, loaded)
      if (token)
        behind(
          shared.fill(key, token, { text, version, wentBack, freshMs, staleMs, form: reading.form ?? 1 }).catch(away),
        )
      return keep(key, text, version, freshMs, reading, flight)
    } catch (error) {
      if (token) behind(shared.fail(key, token, error instanceof AppError ? error.code : '').catch(away))
      if (old && tier.find(key) === old && performance.now() < old.staleUntil) return old
      throw error
    } finally {
      clearInterval(holding)
    }
  }

  const keep = (
    key: string,
    text: string,
    version: number | undefined,
    freshMs: number,
    reading: Reading<unknown>,
    flight: Flight,
  ) => {
    const now = performance.now()
    const staleMs = text === '' ? 0 : reading.staleMs
    const freshUntil = now + Math.min(freshMs > 0 ? freshMs : Math.min(recheckMs, staleMs), l1.maxAgeMs)
    return tier.keep(key, text, flight, { version, freshUntil, staleUntil: now + freshMs + staleMs })
  }

  const look = async (key: string, reading: Reading<unknown>, flight: Flight): Promise<Entry> => {
    const giveUpAt = performance.now() + (reading.loadTimeoutMs ?? defaultLoadTimeoutMs) + lockMs
    const token = randomUUID()
    let pauseMs = 10
    while (true) {
      if (performance.now() < awayUntil) return fill(key, reading, flight)
      const found = await shared.read(key, token, tier.newest(key), reading.form ?? 1).catch(away)
      if (!found) return fill(key, reading, flight)
      if (found.text !== undefined && !tier.isOlder(key, found.version)) {
        if (found.lock.mine) behind(refresh(key, reading, token))
        return keep(key, found.text, found.version, found.freshForMs, reading, flight)
      }
      if (found.lock.mine) return fill(key, reading, flight, token)
      const failed = found.lock.failed as keyof typeof kitErrors | undefined
      if (failed && kitErrors[failed]) throw kitErrors[failed]({ retryAfterMs: 1000 })
      if (performance.now() > giveUpAt) return fill(key, reading, flight)
      await wait(pauseMs * (0.5 + Math.random()))
      pauseMs = Math.min(pauseMs * 1.4, 100)
    }
  }

  const refresh = (key: string, reading: Reading<unknown>, token: string) =>
    tier
      .watch(key, (flight) => fill(key, reading, flight, token))
      .catch((err) => log.warn({ err, key }, 'cache refresh failed'))

  let listening = false
  const stopListening = listenTo({
    subscriber,
    channel: shared.channel,
    onMessage(message) {
      const said = readMessage(message)
      if (said) tier.invalidate(...said)
      else tier.clear()
    },
    onListening() {
      listening = true
      tier.clear() // nothing that was kept until now can be trusted
    },
  })
  const deaf = () => {
    listening = false
  }
  subscriber.on('close', deaf)

  return {
    scope: 'cluster',
    async get<T>(key: string, reading: Reading<T>) {
      const entry = tier.find(key)
      if (entry && performance.now() < entry.freshUntil) return entry.value as T | undefined
      const found = await tier.fly(key, (flight) => look(key, reading as Reading<unknown>, flight))
      return found.value as T | undefined
    },
    async invalidate(key, version) {
      tier.invalidate(key, version)
      await invalidations.send(key, version)
    },
    degraded() {
      if (performance.now() < awayUntil) return 'the cache goes without Redis'
      return listening ? undefined : 'the cache hears of no invalidations'
    },
    async stop() {
      stopListening()
      subscriber.off('close', deaf)
      invalidations.stop()
      await Promise.all(background)
    },
  }
}

/** Returns `undefined` if everything, or an unknown part, is invalid. Never throws, which would end the process. */
function readMessage(message: string): [key: string, version: number | undefined] | undefined {
  try {
    const [key, version] = JSON.parse(message) as [unknown, unknown]
    if (typeof key === 'string') return [key, typeof version === 'number' ? version : undefined]
  } catch {
    // somebody else's message
  }
  return undefined
}
