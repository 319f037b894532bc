import { createHash } from 'node:crypto'
import type { Redis } from 'ioredis'

export interface Script {
  /** Sends the script's digest, and its text only to a server that does not know it yet. */
  run(redis: Redis, keys: string[], args: (string | number)[]): Promise<unknown>
}

/** A Lua script: its commands run as one, with nobody else's in between. */
export function createScript(text: string): Script {
  const digest = createHash('sha1').update(text).digest('hex')
  return {
    async run(redis, keys, args) {
      try {
        return await redis.evalsha(digest, keys.length, ...keys, ...args)
      } catch (error) {
        // Nothing has run yet, so that sending it again cannot count twice.
        if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
        return redis.eval(text, keys.length, ...keys, ...args)
      }
    },
  }
}
