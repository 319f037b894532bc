import type { Redis } from 'ioredis'
import { createScript } from '../redis/script.ts'
import { unreadable } from './queue.ts'

const replace = createScript(`if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
end`)

const maxShown = 10_000

/**
 * Replaces what is no JSON in a job's hash. BullMQ takes such a job, fails to read it and leaves it to the next worker, for ever and
 * whatever its attempts: with this it runs, and becomes a dead letter that an operator can see.
 */
export async function makeReadable(redis: Redis, key: string): Promise<void> {
  const [data, opts] = await redis.hmget(key, 'data', 'opts')
  if (typeof data === 'string' && !isJson(data))
    await replace.run(redis, [key], ['data', data, JSON.stringify(unreadable(data.slice(0, maxShown)))])
  if (typeof opts === 'string' && !isJson(opts)) await replace.run(redis, [key], ['opts', opts, '{"attempts":1}'])
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text || '{}')
    return true
  } catch {
    return false
  }
}
