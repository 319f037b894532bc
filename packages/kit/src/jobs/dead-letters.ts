import type { Job as BullJob, Queue } from 'bullmq'
import type { DeadLetter, DeadLetters } from './jobs.ts'
import {
  connectLanes,
  deadIndex,
  droppedKey,
  droppedMs,
  inTime,
  isJobData,
  type JobData,
  type LaneNames,
  type QueueConnectionOptions,
  queueName,
  unreadable,
} from './queue.ts'
import { makeReadable } from './repair-unreadable.ts'

type Bull = Queue<JobData, void>
type DeadJob = BullJob<JobData, void>

/** BullMQ's failed sets, of all lanes. */
export function createBullmqDeadLetters(
  options: QueueConnectionOptions & LaneNames,
): DeadLetters & { stop(): Promise<void> } {
  const { redis } = options
  const { prefix } = queueName(options)
  const index = deadIndex(options)
  const lanes = connectLanes(options)

  const read = async (queue: Bull, id: string): Promise<DeadJob | undefined> => {
    try {
      return await queue.getJob(id)
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error
      await makeReadable(redis, `${prefix}:${queue.name}:${id}`)
      return queue.getJob(id)
    }
  }

  /** Runs `command` on the dead letter of that id, in whichever lane it is. */
  const onDead = async <T>(id: string, command: (job: DeadJob, queue: Bull) => Promise<T>): Promise<T | undefined> => {
    for (const name of lanes.names) {
      const found = await lanes.lane(name).use(async (queue) => {
        const job = await read(queue, id)
        return job && (await job.isFailed()) ? { result: await command(job, queue) } : undefined
      })
      if (found) return found.result
    }
    return undefined
  }
  const forget = async ({ name, data }: DeadJob) => {
    if (data?.aggregate !== undefined) await redis.hdel(index.key, index.field(name, data.aggregate))
  }

  /** Ids first, since only they are cheap: the newest of each lane, merged. */
  const newest = async (count: number) => {
    const ranges = await Promise.all(
      lanes.names.map(async (lane) => {
        const flat = await redis.zrevrange(`${prefix}:${lane}:failed`, 0, count - 1, 'WITHSCORES')
        return flat.flatMap((id, at) => (at % 2 === 0 ? [{ lane, id, failedAt: Number(flat[at + 1]) }] : []))
      }),
    )
    return ranges.flat().sort((a, b) => b.failedAt - a.failedAt)
  }

  return {
    async list({ offset = 0, limit = 100 } = {}) {
      const page = (await inTime(() => newest(offset + limit))).slice(offset, offset + limit)
      const jobs = await Promise.all(page.map(({ lane, id }) => lanes.lane(lane).use((queue) => read(queue, id))))
      return jobs.filter((job) => job !== undefined).map(toDeadLetter)
    },
    find: (id) => onDead(id, async (job) => toDeadLetter(job)),
    async replay(id) {
      const done = await onDead(id, async (job) => {
        const { waits, forgiven: _, ...data } = isJobData(job.data) ? job.data : unreadable(job.data)
        // A run that failed may have had an effect, although its attempts begin again.
        await job.updateData({
          ...data,
          waits: { interruptions: (waits?.interruptions ?? 0) + 1 },
          forgiven: job.stalledCounter,
        })
        try {
          await job.retry('failed', { resetAttemptsMade: true, resetAttemptsStarted: true })
        } catch (error) {
          if (await job.isFailed()) throw error
          return false // another replay was faster
        }
        await forget(job)
        return true
      })
      return done ?? false
    },
    async drop(id) {
      const done = await onDead(id, async (job, queue) => {
        const { name } = queue
        await redis.set(droppedKey({ prefix, name }, id), 1, 'PX', droppedMs) // first: a relay must not bring it back
        await queue.remove(id)
        await forget(job)
        return true
      })
      return done ?? false
    },
    async among(type, aggregates) {
      if (aggregates.length === 0) return new Set()
      const fields = aggregates.map((aggregate) => index.field(type, aggregate))
      const entries = await inTime(() => redis.hmget(index.key, ...fields))
      const isDead = async (entry: string | null | undefined) => {
        if (!entry) return false
        const [lane, id] = JSON.parse(entry) as [string, string]
        return (await redis.zscore(`${prefix}:${lane}:failed`, id)) !== null
      }
      const dead = await inTime(() => Promise.all(entries.map(isDead)))
      return new Set(aggregates.filter((_, at) => dead[at]))
    },
    stop: () => lanes.close(),
  }
}

const toDeadLetter = (job: BullJob<JobData>): DeadLetter => ({
  id: job.id as string,
  type: job.name,
  payload: isJobData(job.data) ? job.data.payload : job.data,
  requestId: isJobData(job.data) ? job.data.requestId : undefined,
  attempts: job.attemptsMade,
  reason: job.failedReason,
  failedAt: new Date(job.finishedOn ?? job.timestamp),
})
