import { type JobsOptions, Queue } from 'bullmq'
import type { Redis } from 'ioredis'
import { kitErrors } from '../errors/errors.ts'
import type { Waits } from './jobs.ts'

/** Job type → lane. Each lane is a queue of its own with its own places, so that its jobs wait for no other lane's. */
export type Lanes = Record<string, string>

/** The lane of every tick of a schedule. */
export const schedulesLane = 'schedules'

export interface QueueName {
  /** In braces, so that all keys of a queue are in one slot of a Redis Cluster. */
  prefix?: string
  name?: string
}

export interface LaneNames extends QueueName {
  /** Types that are not listed share the default lane. */
  lanes?: Lanes
}

/** One place for the names: everything that adds, consumes, schedules or inspects jobs must agree on them. */
export const queueName = ({ prefix = '{escala}', name = 'jobs' }: QueueName) => ({ prefix, name })

/** The queue of one lane; the default lane's has the bare name. */
export const laneName = (options: QueueName, lane: string | undefined): string =>
  lane === undefined ? queueName(options).name : `${queueName(options).name}-${lane}`

/** Every lane's queue, the default one first. */
export function allLanes(options: LaneNames): string[] {
  const lanes = new Set([undefined, schedulesLane, ...Object.values(options.lanes ?? {})])
  return [...lanes].map((lane) => laneName(options, lane))
}

/** `Object.hasOwn`, since a type is a name from outside. */
export const laneOf = (options: LaneNames, type: string): string =>
  laneName(options, Object.hasOwn(options.lanes ?? {}, type) ? options.lanes?.[type] : undefined)

/** Where the latest dead letter of each type and aggregate is found: a hint, since the failed set alone is the truth. */
export const deadIndex = (options: QueueName) => {
  const { prefix, name } = queueName(options)
  return { key: `${prefix}:${name}:dead`, field: (type: string, aggregate: string) => `${type} ${aggregate}` }
}

/** Remembers a dead letter that an operator dropped, for as long as its message stays in the outbox, so that no relay repeats it. */
export const droppedKey = (queue: Required<QueueName>, id: string) => `${queue.prefix}:${queue.name}:dropped:${id}`
export const droppedMs = 48 * 3_600_000

/** What a job carries in Redis, in clear: never put a secret into a payload. */
export interface JobData {
  payload: unknown
  aggregate?: string
  requestId?: string
  traceparent?: string
  waits?: Waits
  /** Its handler has returned, although its worker had lost the lock by then: nothing is left to do. */
  done?: true
  /** It stands for data that no job can have: `payload` is what there was. */
  unreadable?: true
  /** Takeovers that an operator's replay has made up for. */
  forgiven?: number
}

export const isJobData = (data: unknown): data is JobData =>
  typeof data === 'object' && data !== null && !Array.isArray(data)

/** What takes the place of data that cannot be read, so that the job can become a dead letter. */
export const unreadable = (payload: unknown): JobData => ({ payload, unreadable: true })

export interface JobPolicy {
  attempts?: number
  /** Wait before the second attempt; doubles each time, less up to half of it at random. */
  backoffMs?: number
}

const hour = 3600
/** Finished jobs that each lane knows, at most. */
export const keptFinished = 10_000

/**
 * Options of every job. Finished ones are kept by age, since a kept id is what drops a copy, and by count, since Redis is finite.
 * A dead letter is accepted work that has not been done: it is kept until an operator replays or drops it.
 */
export const jobOptions = ({ attempts = 10, backoffMs = 1000 }: JobPolicy): JobsOptions => ({
  attempts,
  backoff: { type: 'exponential', delay: backoffMs, jitter: 0.5 },
  removeOnComplete: { age: 24 * hour, count: keptFinished },
  removeOnFail: false,
})

export interface QueueConnection {
  /** Runs one command of the queue. Throws `E_REDIS_UNAVAILABLE` in time whatever happens: it may or may not have run. */
  use<T>(command: (queue: Queue<JobData, void>) => Promise<T>): Promise<T>
  close(): Promise<void>
}

export interface QueueConnectionOptions extends QueueName, JobPolicy {
  /** A connection of the role `request`: a command that cannot run in time must fail, not wait. */
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
    use: (command) => inTime(async () => command(await get())),
    async close() {
      const queue = await made?.catch(() => undefined)
      await queue?.close()
    },
  }
}

/** Turns every failure into `E_REDIS_UNAVAILABLE`: the command may or may not have run. */
export async function inTime<T>(command: () => Promise<T>): Promise<T> {
  try {
    return await command()
  } catch (cause) {
    throw kitErrors.E_REDIS_UNAVAILABLE({ cause, retryAfterMs: 1000 })
  }
}

/** One connection per lane, all over the same Redis client. */
export function connectLanes(options: QueueConnectionOptions & LaneNames) {
  const lanes = new Map(allLanes(options).map((name) => [name, connectQueue({ ...options, name })]))
  return {
    names: [...lanes.keys()],
    lane: (name: string) => lanes.get(name) as QueueConnection,
    of: (type: string) => lanes.get(laneOf(options, type)) as QueueConnection,
    async close() {
      await Promise.all([...lanes.values()].map((lane) => lane.close()))
    },
  }
}
