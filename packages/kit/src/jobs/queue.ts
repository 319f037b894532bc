import { type JobsOptions, Queue } from 'bullmq'
import type { Redis } from 'ioredis'
import { kitErrors } from '../errors/errors.ts'

export interface QueueName {
  /** In braces, so that all keys of a queue are in one slot of a Redis Cluster. */
  prefix?: string
  name?: string
}

/** One place for the names: whoever adds, consumes, schedules or inspects must agree on them. */
export const queueName = ({ prefix = '{escala}', name = 'jobs' }: QueueName) => ({ prefix, name })

/** What a job carries in Redis, in clear: never put a secret into a payload. */
export interface JobData {
  payload: unknown
  requestId?: string
  traceparent?: string
}

export interface JobPolicy {
  attempts?: number
  /** Wait before the second attempt; doubles each time, less up to half of it at random. */
  backoffMs?: number
}

const hour = 3600

/** Options of every job. Finished ones are kept by age, since a kept id is what drops a copy, and by count, since Redis is finite. */
export const jobOptions = ({ attempts = 10, backoffMs = 1000 }: JobPolicy): JobsOptions => ({
  attempts,
  backoff: { type: 'exponential', delay: backoffMs, jitter: 0.5 },
  removeOnComplete: { age: 24 * hour, count: 10_000 },
  removeOnFail: { age: 7 * 24 * hour, count: 10_000 },
})

export interface QueueConnection {
  /** Runs one command of the queue. Throws `E_REDIS_UNAVAILABLE` in time whatever happens: it may or may not have run. */
  use<T>(command: (queue: Queue<JobData, void>) => Promise<T>): Promise<T>
  close(): Promise<void>
}

export interface QueueConnectionOptions extends QueueName, JobPolicy {
  /** Of the role `request`: a command that cannot run in time must fail, not wait. */
  redis: Redis
}

/** BullMQ's queue is made when Redis is there: one that is made before fails for ever, on a connection that does not wait. */
export function connectQueue(options: QueueConnectionOptions): QueueConnection {
  const { redis } = options
  const { name, prefix } = queueName(options)
  let made: Promise<Queue<JobData, void>> | undefined

  const make = async () => {
    if (redis.status !== 'ready') throw new Error(`redis is ${redis.status}`)
    const queue = new Queue<JobData, void>(name, { connection: redis, prefix, defaultJobOptions: jobOptions(options) })
    queue.on('error', () => {}) // commands fail by themselves, and the connection logs its outages
    await queue.waitUntilReady()
    return queue
  }
  const get = () => {
    made ??= make().catch((error) => {
      made = undefined
      throw error
    })
    return made
  }
  return {
    async use(command) {
      try {
        return await command(await get())
      } catch (cause) {
        throw kitErrors.E_REDIS_UNAVAILABLE({ cause, retryAfterMs: 1000 })
      }
    },
    async close() {
      const queue = await made?.catch(() => undefined)
      await queue?.close()
    },
  }
}
