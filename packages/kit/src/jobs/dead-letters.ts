import type { Job as BullJob, Queue } from 'bullmq'
import type { DeadLetter, DeadLetters } from './jobs.ts'
import { connectQueue, type JobData, type QueueConnectionOptions } from './queue.ts'

type Bull = Queue<JobData, void>

/** BullMQ's failed set. */
export function createBullmqDeadLetters(options: QueueConnectionOptions): DeadLetters & { stop(): Promise<void> } {
  const connection = connectQueue(options)
  const find = async (queue: Bull, id: string) => {
    const job = (await queue.getJob(id)) as BullJob<JobData, void> | undefined
    return job && (await job.isFailed()) ? job : undefined
  }
  return {
    list: ({ offset = 0, limit = 100 } = {}) =>
      connection.use(async (queue) => {
        const jobs = (await queue.getFailed(offset, offset + limit - 1)) as BullJob<JobData, void>[]
        return jobs.map(toDeadLetter)
      }),
    find: (id) =>
      connection.use(async (queue) => {
        const job = await find(queue, id)
        return job && toDeadLetter(job)
      }),
    replay: (id) =>
      connection.use(async (queue) => {
        const job = await find(queue, id)
        await job?.retry('failed', { resetAttemptsMade: true, resetAttemptsStarted: true })
        return job !== undefined
      }),
    drop: (id) =>
      connection.use(async (queue) => {
        const job = await find(queue, id)
        await job?.remove()
        return job !== undefined
      }),
    stop: () => connection.close(),
  }
}

const toDeadLetter = (job: BullJob<JobData>): DeadLetter => ({
  id: job.id as string,
  type: job.name,
  payload: job.data.payload,
  requestId: job.data.requestId,
  attempts: job.attemptsMade,
  reason: job.failedReason,
  failedAt: new Date(job.finishedOn ?? job.timestamp),
})
