import { createMemoryRateLimits } from '@escala/kit/rate-limits/memory'
import { createRedisSessions } from '@escala/kit/sessions/redis'
import express from 'express'
import { rateLimit } from 'express-rate-limit'
import { Redis, type RedisOptions } from 'ioredis'
import { RedisStore } from 'rate-limit-redis'
import type { Parts } from '../../apps/api/src/parts.ts'

/**
 * Sessions and a limit as the packages' pages show them, on connections that are given only the address. It is that of the
 * cache: a replica of the kit does not serve before it has reached the state Redis, and this one is to start without its Redis.
 */
export const apiParts = naiveParts()

export function naiveParts(options: RedisOptions = {}): Partial<Parts> {
  return {
    sessions: ({ config }) => createRedisSessions({ redis: new Redis(config.CACHE_REDIS_URL, options) }),
    rateLimits: createMemoryRateLimits, // the kit's own limit, which would not fail, is out of the way
    listener(app, { config }) {
      const redis = new Redis(config.CACHE_REDIS_URL, options)
      const sendCommand = (command: string, ...args: string[]) => redis.call(command, ...args) as Promise<number[]>
      const limit = rateLimit({ windowMs: 60_000, limit: 1_000_000, store: new RedisStore({ sendCommand }) })
      return express().set('trust proxy', 1).use(limit).use(app)
    },
  }
}
