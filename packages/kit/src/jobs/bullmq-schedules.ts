import { setTimeout as wait } from 'node:timers/promises'
import { defaultRepeatStrategy, type Queue } from 'bullmq'
import type { Logger } from '../log/log.ts'
import { clockOffset, maxClockOffsetMs, serverMs } from './clock-offset.ts'
import type { Schedule } from './jobs.ts'
import { connectQueue, type JobData, type QueueConnectionOptions, queueName } from './queue.ts'
import type { Schedules } from './schedules.ts'

export interface BullmqSchedulesOptions extends QueueConnectionOptions {
  log: Logger
  /** What this worker's code knows. */
  own: Schedule[]
  /** Ids of the schedules that any live worker declares, this one included: declare before `start`. */
  declared(): Promise<string[]>
  /** How often they are put right: after a Redis that lost its data, or the death of the last worker that knew one. */
  repairMs?: number
}

const retryMs = 500

// The next tick does the same work. With tries of its own, each tick of an outage would come back again and again after it, and
// those of the beginning would be dead letters. A cron pattern's next tick may be a day away: its jobs are tried as any other.
const onceOnly = { attempts: 1, removeOnFail: true }

/**
 * A schedule is one entry in Redis, however many workers write it; each tick's job is made once, when the one before it starts.
 * So a queue that is busy for longer than a period skips ticks, and the first tick of a period comes at once.
 */
export function createBullmqSchedules(options: BullmqSchedulesOptions): Schedules {
  const { redis, log, own, declared, repairMs = 30_000 } = options
  const connection = connectQueue(options)
  const former = connectQueue({ ...options, name: undefined })
  const stopping = new AbortController()
  let repairing: Promise<void> | undefined

  /** Whether this worker's clock can be trusted with planning. Says so when it can not, and when it can again. */
  let wasRight = true
  const isClockRight = async () => {
    const offsetMs = Math.round(await clockOffset(redis))
    const isRight = Math.abs(offsetMs) <= maxClockOffsetMs
    if (!isRight && wasRight) log.error({ offsetMs }, 'the clock of this worker is wrong: it plans no schedules')
    if (isRight && !wasRight) log.info('the clock of this worker is right again')
    wasRight = isRight
    return isRight
  }

  const put = async (queue: Queue<JobData, void>) => {
    if (!(await isClockRight())) return
    await dropFarTicks(queue)
    for (const { id, type, every } of own) {
      const isPeriod = 'ms' in every
      const repeat = isPeriod ? { every: every.ms } : { pattern: every.cron, tz: 'UTC' }
      const opts = isPeriod ? onceOnly : undefined
      await queue.upsertJobScheduler(id, repeat, { name: type, data: { payload: null }, opts })
    }
    // Order: what is there first, then who declares it. Each was declared before it was put, so that
    // a worker that is just starting with a new schedule cannot lose it to an old one that does not know it.
    const present = await queue.getJobSchedulers()
    const wanted = new Set([...own.map(({ id }) => id), ...(await declared())])
    for (const { key } of present) {
      if (wanted.has(key)) continue
      await queue.removeJobScheduler(key)
      log.info({ schedule: key }, 'schedule removed: no live worker declares it')
    }
  }

  /** Removes ticks that a worker with a wrong clock has planned too far ahead; they are planned again at once. */
  const dropFarTicks = async (queue: Queue<JobData, void>) => {
    const now = await serverMs(redis)
    const every = new Map(own.map((schedule) => [schedule.id, schedule.every]))
    for (const { key, next = 0 } of await queue.getJobSchedulers()) {
      const latest = latestNext(every.get(key), now)
      if (latest === undefined || next <= latest) continue
      await queue.removeJobScheduler(key)
      log.warn({ schedule: key, aheadMs: Math.round(next - latest) }, 'next tick was planned too far ahead')
    }
  }

  /** Before there were lanes, ticks were in the queue of all other jobs. */
  const dropFormer = async (queue: Queue<JobData, void>) => {
    if (queueName(options).name === queue.name) return
    for (const { key } of await queue.getJobSchedulers()) await queue.removeJobScheduler(key)
  }

  /** Retries until it succeeds. Returns `false` if it was stopped before. */
  const repair = async (): Promise<boolean> => {
    let hasFailed = false
    while (!stopping.signal.aborted) {
      try {
        await connection.use(put)
        await former.use(dropFormer)
        if (hasFailed) log.info('schedules restored')
        return true
      } catch (err) {
        if (!hasFailed) log.warn({ err }, 'cannot write schedules to Redis')
        hasFailed = true
        await wait(retryMs, undefined, { signal: stopping.signal }).catch(() => undefined)
      }
    }
    return false
  }

  const repairForEver = async () => {
    while (!stopping.signal.aborted) {
      const connected = new AbortController()
      const connect = () => connected.abort()
      redis.once('ready', connect) // to a server that may have lost everything
      const signal = AbortSignal.any([stopping.signal, connected.signal])
      // Jitter, so that workers that started together do not do this together.
      await wait(repairMs * (0.75 + Math.random() / 2), undefined, { signal }).catch(() => undefined)
      redis.off('ready', connect)
      if (!stopping.signal.aborted) await repair()
    }
  }

  return {
    scope: 'cluster',
    async start() {
      if (await repair()) repairing = repairForEver()
    },
    async stop() {
      stopping.abort()
      await repairing
      await Promise.all([connection.close(), former.close()])
    },
  }
}

/** The latest moment that a right clock can have planned the next tick for; `undefined`: the schedule is not known here. */
function latestNext(every: Schedule['every'] | undefined, now: number): number | undefined {
  if (every === undefined) return undefined
  if ('ms' in every) return now + every.ms + maxClockOffsetMs
  // After the tolerance: a clock that is a little ahead has planned the tick after the one that is just due.
  const next = defaultRepeatStrategy(now + maxClockOffsetMs, { pattern: every.cron, tz: 'UTC' })
  return next === undefined ? undefined : next + maxClockOffsetMs
}
