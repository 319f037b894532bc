import { Job, type Worker } from 'bullmq'
import type { Redis } from 'ioredis'
import type { JobData } from './queue.ts'

/** Of a lane's places, one in so many is for jobs that failed before, while first tries wait; likewise of the jobs taken. */
export const turnEvery = 5

export interface Turns {
  /** Call it for every job that is taken; call what it returns when the job has ended. */
  taken(isFirstTry: boolean): () => void
}

export interface TurnsOptions {
  redis: Redis
  worker: Worker<JobData, void>
  concurrency: number
  onError(err: unknown): void
}

/**
 * Keeps a busy lane from starving its failed jobs, which wait behind all first tries: after every fifth first try, the one of them
 * that has waited for longest comes next. Only while few of them run here, so that slow failures leave the other places alone.
 */
export function createTurns({ redis, worker, concurrency, onError }: TurnsOptions): Turns {
  const most = Math.max(1, Math.floor(concurrency / turnEvery))
  const waiting = worker.toKey('prioritized')
  let firstTries = 0
  let running = 0
  let busy = false

  const callNext = async () => {
    const [id] = await redis.zrange(waiting, '0', '0')
    const job = id === undefined ? undefined : await Job.fromId<JobData, void>(worker, id)
    // Two workers may call the same one: the second finds it where the first has put it, or active.
    await job?.changePriority({ priority: 0, lifo: true })
  }

  return {
    taken(isFirstTry) {
      if (!isFirstTry) {
        firstTries = 0
        running++
        return () => void running--
      }
      if (++firstTries >= turnEvery && running < most && !busy) {
        firstTries = 0
        busy = true
        callNext()
          .catch(onError)
          .finally(() => {
            busy = false
          })
      }
      return () => undefined
    },
  }
}
