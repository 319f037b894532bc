import { setTimeout as wait } from 'node:timers/promises'
import type { Logger } from '../log/log.ts'
import {
  type DeadLetter,
  type DeadLetters,
  isPermanent,
  type JobConsumer,
  type JobHandler,
  type JobQueue,
  type NewJob,
  postpone,
  unknownType,
  type WaitLimits,
  type Waits,
} from './jobs.ts'

export interface MemoryJobsOptions {
  log: Logger
  attempts?: number
  backoffMs?: number
}

interface Entry {
  job: NewJob
  state: 'waiting' | 'active' | 'done' | 'failed'
  attempts: number
  waits: Waits
  hasRun: boolean
  reason: string
  failedAt: Date
}

/** Jobs in this process: gone when it ends, and no other worker helps. For tests, and to see what breaks. */
export function createMemoryJobs({ log, attempts = 10, backoffMs = 1000 }: MemoryJobsOptions) {
  const entries = new Map<string, Entry>()
  let pump = () => {}

  const queue: JobQueue = {
    scope: 'process',
    async add(job) {
      if (entries.has(job.id)) return
      entries.set(job.id, {
        job,
        state: 'waiting',
        attempts: 0,
        waits: { interruptions: 0 },
        hasRun: false,
        reason: '',
        failedAt: new Date(0),
      })
      pump()
    },
    async addAll(jobs) {
      await Promise.all(jobs.map((job) => queue.add(job)))
    },
    async missing(jobs) {
      return jobs.filter(({ id }) => !entries.has(id)).map(({ id }) => id)
    },
    async stop() {},
  }

  const consume = (handlers: Record<string, JobHandler>, concurrency = 10, limits: WaitLimits = {}): JobConsumer => {
    const known = new Map(Object.entries(handlers))
    const deadline = new AbortController()
    const running = new Set<Promise<void>>()
    let stopping = false

    const fail = async (entry: Entry, error: unknown) => {
      const postponed = postpone(error, entry.waits, Date.now(), limits)
      if (postponed !== undefined) {
        entry.attempts--
        entry.waits = postponed.waits
        await wait(postponed.ms, undefined, { ref: false })
        entry.state = 'waiting'
        return
      }
      entry.hasRun = true
      entry.reason = error instanceof Error ? error.message : String(error)
      if (isPermanent(error) || entry.attempts >= attempts) {
        Object.assign(entry, { state: 'failed', failedAt: new Date() })
        return
      }
      await wait(backoffMs * 2 ** (entry.attempts - 1) * (0.5 + Math.random() / 2), undefined, { ref: false })
      entry.state = 'waiting'
    }

    const run = async (entry: Entry) => {
      entry.state = 'active'
      entry.attempts++
      const { id, type, payload, requestId, traceparent } = entry.job
      const attempt = entry.attempts
      const jobLog = log.child({ queue: 'memory', jobId: id, jobType: type, attempt, requestId })
      try {
        const handler = known.get(type)
        if (!handler) throw unknownType({ type })
        const isFirstTry = !entry.hasRun && entry.waits.interruptions === 0
        const { signal } = deadline
        await handler({ id, type, payload, requestId, traceparent, attempt, isFirstTry, signal, log: jobLog })
        entry.state = 'done'
      } catch (error) {
        if (deadline.signal.aborted)
          Object.assign(entry, { state: 'waiting', attempts: entry.attempts - 1, hasRun: true })
        else void fail(entry, error).then(() => pump())
      }
    }

    pump = () => {
      for (const entry of entries.values()) {
        if (stopping || running.size >= concurrency) return
        if (entry.state !== 'waiting') continue
        const work = run(entry).finally(() => {
          running.delete(work)
          pump()
        })
        running.add(work)
      }
    }
    setImmediate(pump)

    return {
      async stop(deadlineMs) {
        stopping = true
        const timer = setTimeout(() => deadline.abort(), deadlineMs)
        await Promise.race([Promise.all(running), wait(deadlineMs + 1000, undefined, { ref: false })])
        clearTimeout(timer)
      },
    }
  }

  const failed = (id: string) => {
    const entry = entries.get(id)
    return entry?.state === 'failed' ? entry : undefined
  }
  const deadLetters: DeadLetters = {
    async list({ offset = 0, limit = 100 } = {}) {
      const dead = [...entries.values()].filter(({ state }) => state === 'failed')
      return dead
        .reverse()
        .slice(offset, offset + limit)
        .map(toDeadLetter)
    },
    async find(id) {
      const entry = failed(id)
      return entry && toDeadLetter(entry)
    },
    async replay(id) {
      const entry = failed(id)
      if (entry) Object.assign(entry, { state: 'waiting', attempts: 0 })
      pump()
      return entry !== undefined
    },
    async drop(id) {
      return failed(id) !== undefined && entries.delete(id)
    },
    async among(type, aggregates) {
      const dead = [...entries.values()].filter(({ state, job }) => state === 'failed' && job.type === type)
      const known = new Set(dead.map(({ job }) => job.aggregate))
      return new Set(aggregates.filter((aggregate) => known.has(aggregate)))
    },
  }
  return { queue, consume, deadLetters }
}

const toDeadLetter = ({ job, attempts, reason, failedAt }: Entry): DeadLetter => ({
  ...job,
  requestId: job.requestId,
  attempts,
  reason,
  failedAt,
})
