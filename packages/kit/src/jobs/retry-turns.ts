import { Job, type Worker } from 'bullmq'
import type { Redis } from 'ioredis'
import type { JobData } from './queue.ts'

/** While first attempts wait, one in so many of a lane's places, and of the jobs taken, is for jobs that failed before. */
export const turnEvery = 5

/** How long a failed job waits in its place until fewer of them run; then it gives the place up. */
const holdMs = 200
/** For how long it is put off then, and up to half as long again at random. */
export const noTurnMs = 5000

export interface Turns {
  /**
   * Call it for every job that is taken; call what it resolves with when the job has ended. `undefined`: too many jobs that failed
   * before run here, and the job must be put off.
   */
  taken(isFirstTry: boolean): Promise<(() => void) | undefined>
}

export interface TurnsOptions {
  redis: Redis
  worker: Worker<JobData, void>
  concurrency: number
  onError(err: unknown): void
}

/**
 * Shares the places of a lane between first tries and jobs that failed before. The queue hands out first tries first.
 * - Jobs that failed before never run in the last fifth of the places, however few first tries there are: each may fail slowly.
 * - While first tries never cease to come, every fifth of them lets in the failed job whose next try has been due for longest, as
 *   long as failed ones run in less than a fifth of the places.
 */
export function createTurns({ redis, worker, concurrency, onError }: TurnsOptions): Turns {
  const fifth = Math.max(1, Math.floor(concurrency / turnEvery))
  const most = Math.max(1, concurrency - fifth)
  const due = worker.toKey('prioritized')
  const held: (() => void)[] = []
  let firstTries = 0
  let running = 0
  let calling = false

  const callNext = async () => {
    const [id] = await redis.zrange(due, '0', '0')
    const job = id === undefined ? undefined : await Job.fromId<JobData, void>(worker, id)
    // Two workers may call the same one: the second finds it where the first has put it, or active.
    await job?.changePriority({ priority: 0, lifo: true })
  }
  const end = () => {
    const next = held.shift()
    if (next) next()
    else running--
  }
  /** Whether a job that ends passes its place on within `holdMs`. */
  const hold = () =>
    new Promise<boolean>((resolve) => {
      const goOn = () => {
        clearTimeout(timer)
        resolve(true)
      }
      const timer = setTimeout(() => {
        held.splice(held.indexOf(goOn), 1)
        resolve(false)
      }, holdMs)
      held.push(goOn)
    })

  return {
    async taken(isFirstTry) {
      if (!isFirstTry) {
        firstTries = 0
        if (running >= most) return (await hold()) ? end : undefined
        running++
        return end
      }
      if (++firstTries >= turnEvery && running < fifth && !calling) {
        firstTries = 0
        calling = true
        callNext()
          .catch(onError)
          .finally(() => {
            calling = false
          })
      }
      return () => undefined
    },
  }
}
