import { setTimeout as wait } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { z } from 'zod'
import { kitErrors } from '../errors/errors.ts'
import {
  type DeadLetters,
  type Job,
  type JobConsumer,
  type JobHandler,
  type JobQueue,
  type NewJob,
  PermanentFailure,
  type WaitLimits,
} from './jobs.ts'
import { readPayload } from './payload.ts'

export interface JobsUnderTest {
  queue: JobQueue
  consume(handlers: Record<string, JobHandler>, concurrency?: number, limits?: WaitLimits): JobConsumer
  deadLetters: DeadLetters
  stop(): Promise<void>
}

let numbers = 0
export const newJob = (type: string, payload: unknown = null): NewJob => ({
  id: `${type}-${process.pid}-${numbers++}`,
  type,
  payload,
  requestId: 'request-1',
})

/** What every adapter keeps. `create` makes an empty queue whose jobs have 3 attempts, with a backoff of a few milliseconds. */
export function describeJobs(name: string, create: () => Promise<JobsUnderTest>): void {
  describe(`jobs: ${name}`, () => {
    let jobs: JobsUnderTest
    let consumers: JobConsumer[]
    beforeEach(async () => {
      jobs = await create()
      consumers = []
    })
    afterEach(async () => {
      await Promise.all(consumers.map((consumer) => consumer.stop(0)))
      await jobs.stop()
    })
    const consume: JobsUnderTest['consume'] = (...options) => {
      const consumer = jobs.consume(...options)
      consumers.push(consumer)
      return consumer
    }

    test('adds many at once as it adds one: each runs once, and a known id is not added again', async () => {
      const added = [newJob('greet', 1), newJob('greet', 2), newJob('other', 3)]
      await jobs.queue.add(added[0] as NewJob)
      await jobs.queue.addAll(added)
      await jobs.queue.addAll(added)
      await jobs.queue.addAll([])
      expect(await jobs.queue.missing(added)).toEqual([])
      const seen: Job[] = []
      const note = async (job: Job) => void seen.push(job)
      consume({ greet: note, other: note })
      await vi.waitFor(() => expect(seen).toHaveLength(3))
      expect(seen.map(({ id, payload, requestId }) => ({ id, payload, requestId }))).toEqual(
        expect.arrayContaining(added.map(({ id, payload, requestId }) => ({ id, payload, requestId }))),
      )
    })

    test('hands a job to the handler of its type, with all that it carries', async () => {
      const seen: Job[] = []
      consume({ greet: async (job) => void seen.push(job), other: async () => expect.unreachable() })
      const job = newJob('greet', { name: 'Ana', z: [1, { a: null }] })
      await jobs.queue.add(job)
      await vi.waitFor(() => expect(seen).toHaveLength(1))
      expect(seen[0]).toMatchObject({ ...job, attempt: 1 })
      expect(seen[0]?.signal.aborted).toBe(false)
    })

    test('a job whose peer is held back waits, and that is none of its attempts', async () => {
      let tries = 0
      consume({
        charge: async () => {
          if (++tries <= 5) throw kitErrors.E_PEER_UNAVAILABLE({ retryAfterMs: 10 })
        },
      })
      await jobs.queue.add(newJob('charge'))
      await vi.waitFor(() => expect(tries).toBe(6), 5000)
      expect(await jobs.deadLetters.list()).toEqual([])
    })

    test("an outage of the kit's own servers uses no attempt, and the job knows that it has run before", async () => {
      const tries: boolean[] = []
      const outage = [kitErrors.E_POSTGRES_UNAVAILABLE, kitErrors.E_REDIS_UNAVAILABLE]
      consume({
        async charge({ isFirstTry }) {
          tries.push(isFirstTry)
          if (tries.length <= 5) throw outage[tries.length % 2]?.({ retryAfterMs: 5 })
        },
      })
      await jobs.queue.add(newJob('charge'))
      await vi.waitFor(() => expect(tries).toEqual([true, false, false, false, false, false]), 10_000)
      expect(await jobs.deadLetters.list()).toEqual([])
    })

    test('a failure that looks like an outage for too long counts: the job itself may be the cause', async () => {
      const limits = { outageMs: 30 }
      const fail = vi.fn(async () => {
        throw kitErrors.E_POSTGRES_UNAVAILABLE({ retryAfterMs: 10 })
      })
      consume({ charge: fail }, 10, limits)
      await jobs.queue.add(newJob('charge'))
      await vi.waitFor(async () => expect(await jobs.deadLetters.list()).toMatchObject([{ attempts: 3 }]), 5000)
    })

    test('a job that only waited for its peer has not run yet; one that failed, or is replayed, has', async () => {
      const seen: boolean[] = []
      consume({
        async charge({ isFirstTry }) {
          seen.push(isFirstTry)
          if (seen.length <= 2) throw kitErrors.E_PEER_UNAVAILABLE({ retryAfterMs: 5 })
          if (seen.length <= 5) throw new Error('no answer')
        },
      })
      const job = newJob('charge')
      await jobs.queue.add(job)
      await vi.waitFor(async () => expect(await jobs.deadLetters.find(job.id)).toBeDefined(), 5000)
      await jobs.deadLetters.replay(job.id)
      await vi.waitFor(() => expect(seen).toEqual([true, true, true, false, false, false]), 5000)
    })

    test('says which aggregates have a dead letter of a type, until it is replayed or dropped', async () => {
      let broken = true
      consume({
        charge: async () => {
          if (broken) throw new PermanentFailure('no')
        },
      })
      const letters = ['a', 'b'].map((aggregate) => ({ ...newJob('charge'), aggregate }))
      for (const job of letters) await jobs.queue.add(job)
      const dead = (type: string) => jobs.deadLetters.among(type, ['a', 'b', 'c'])
      await vi.waitFor(async () => expect(await dead('charge')).toEqual(new Set(['a', 'b'])), 5000)
      expect(await dead('mail')).toEqual(new Set())
      expect(await jobs.deadLetters.among('charge', [])).toEqual(new Set())
      broken = false
      await jobs.deadLetters.replay(letters[0]?.id as string)
      await jobs.deadLetters.drop(letters[1]?.id as string)
      expect(await dead('charge')).toEqual(new Set())
    })

    test('knows which jobs it does not know', async () => {
      const [done, waiting, lost] = [newJob('done'), newJob('later'), newJob('done')]
      const run = vi.fn(async () => {})
      consume({ done: run })
      await jobs.queue.add(done)
      await jobs.queue.add(waiting)
      await vi.waitFor(() => expect(run).toHaveBeenCalled())
      expect(await jobs.queue.missing([done, lost, waiting])).toEqual([lost.id])
      expect(await jobs.queue.missing([])).toEqual([])
    })

    test('the same id is added once, also after it is done', async () => {
      const run = vi.fn(async () => {})
      consume({ once: run, last: run })
      const job = newJob('once')
      await Promise.all([jobs.queue.add(job), jobs.queue.add(job), jobs.queue.add(job)])
      await vi.waitFor(() => expect(run).toHaveBeenCalledTimes(1))
      await jobs.queue.add(job)
      await jobs.queue.add(newJob('last'))
      await vi.waitFor(() => expect(run).toHaveBeenCalledTimes(2))
    })

    test('a failure is tried again, and each attempt knows its number', async () => {
      const attempts: number[] = []
      consume({
        shaky: async ({ attempt }) => {
          attempts.push(attempt)
          if (attempt < 3) throw new Error('not yet')
        },
      })
      await jobs.queue.add(newJob('shaky'))
      await vi.waitFor(() => expect(attempts).toEqual([1, 2, 3]))
      expect(await jobs.deadLetters.list()).toEqual([])
    })

    test('a job whose attempts are used up becomes a dead letter, and can be replayed', async () => {
      let broken = true
      const run = vi.fn(async () => {
        if (broken) throw new Error('provider is down')
      })
      consume({ charge: run })
      const job = newJob('charge', { order: 7 })
      await jobs.queue.add(job)
      await vi.waitFor(async () => expect(await jobs.deadLetters.list()).toHaveLength(1))
      expect(run).toHaveBeenCalledTimes(3)
      expect(await jobs.deadLetters.find(job.id)).toMatchObject({ ...job, attempts: 3, reason: 'provider is down' })
      broken = false
      expect(await jobs.deadLetters.replay(job.id)).toBe(true)
      await vi.waitFor(() => expect(run).toHaveBeenCalledTimes(4))
      expect(await jobs.deadLetters.list()).toEqual([])
      expect(await jobs.deadLetters.replay(job.id)).toBe(false)
    })

    test('a replayed job has all of its attempts again', async () => {
      const run = vi.fn(async () => {
        throw new Error('still broken')
      })
      consume({ charge: run })
      const job = newJob('charge')
      await jobs.queue.add(job)
      const dead = () => vi.waitFor(async () => expect(await jobs.deadLetters.list()).toHaveLength(1))
      await dead()
      await jobs.deadLetters.replay(job.id)
      await vi.waitFor(() => expect(run).toHaveBeenCalledTimes(6))
      await dead()
    })

    test('a permanent failure is a dead letter at once; dropped, its id can be added again', async () => {
      const run = vi.fn(async () => {
        throw new PermanentFailure('no such order')
      })
      consume({ charge: run })
      const job = newJob('charge')
      await jobs.queue.add(job)
      await vi.waitFor(async () => expect(await jobs.deadLetters.list()).toHaveLength(1))
      expect(run).toHaveBeenCalledTimes(1)
      expect(await jobs.deadLetters.drop(job.id)).toBe(true)
      expect(await jobs.deadLetters.find(job.id)).toBeUndefined()
      await jobs.queue.add(job)
      await vi.waitFor(() => expect(run).toHaveBeenCalledTimes(2))
    })

    test('a type without a handler waits for a worker that has one; an inherited name is no handler', async () => {
      const old = consume({ greet: async () => {} })
      await jobs.queue.add(newJob('constructor'))
      await wait(100)
      expect(await jobs.deadLetters.list()).toEqual([])
      await old.stop(1000)
      const run = vi.fn(async () => {
        if (run.mock.calls.length < 3) throw new Error('not yet')
      })
      consume({ constructor: run })
      await vi.waitFor(() => expect(run).toHaveBeenCalledTimes(3), 5000)
    })

    test('a payload that is too new is left for a newer worker, and none of its attempts is used', async () => {
      const read = (newest: number) => (job: Job) => readPayload(job, z.object({ name: z.string() }), newest).name
      const seen: string[] = []
      const old = consume({ greet: async (job) => void seen.push(read(1)(job)) })
      const known = newJob('greet', { name: 'Ana' })
      await jobs.queue.add(newJob('greet', { version: 2, name: 'Bea' }))
      await jobs.queue.add(known)
      await vi.waitFor(() => expect(seen).toEqual(['Ana']))
      await wait(100)
      expect(await jobs.deadLetters.list()).toEqual([])
      await old.stop(1000)
      let failures = 0
      consume({
        greet: async (job) => {
          if (failures++ < 2) throw new Error('not yet')
          seen.push(read(2)(job))
        },
      })
      await vi.waitFor(() => expect(seen).toEqual(['Ana', 'Bea']), 5000)
    })

    test('a job that stays too new for every worker becomes a dead letter, with the reason', async () => {
      consume({ greet: async (job) => void readPayload(job, z.unknown(), 3) }, 10, { tooNewMs: 50 })
      const job = newJob('greet', { version: 4 })
      await jobs.queue.add(job)
      await jobs.queue.add(newJob('unknown'))
      await vi.waitFor(async () => expect(await jobs.deadLetters.list()).toHaveLength(2), 5000)
      const reason = 'its payload is of version 4, and this worker reads up to 3'
      expect(await jobs.deadLetters.find(job.id)).toMatchObject({ reason })
    })

    test('a payload that does not fit is a permanent failure', async () => {
      consume({ greet: async (job) => void readPayload(job, z.object({ name: z.string() })) })
      await jobs.queue.add(newJob('greet', { nam: 'Ana' }))
      await vi.waitFor(async () => expect(await jobs.deadLetters.list()).toMatchObject([{ attempts: 1 }]))
    })

    test('runs no more at a time than it may', async () => {
      let active = 0
      let most = 0
      let done = 0
      const work = async () => {
        most = Math.max(most, ++active)
        await new Promise((resolve) => setTimeout(resolve, 10))
        active--
        done++
      }
      consume({ work }, 3)
      for (let n = 0; n < 12; n++) await jobs.queue.add(newJob('work'))
      await vi.waitFor(() => expect(done).toBe(12))
      expect(most).toBe(3)
    })

    test('stopping waits for what runs, and takes nothing new', async () => {
      const begun = Promise.withResolvers<void>()
      const goOn = Promise.withResolvers<void>()
      const ended: string[] = []
      const slow = async ({ id }: Job) => {
        begun.resolve()
        await goOn.promise
        ended.push(id)
      }
      const consumer = consume({ slow }, 1)
      const [first, second] = [newJob('slow'), newJob('slow')]
      await jobs.queue.add(first)
      await begun.promise
      const stopped = consumer.stop(5000)
      await jobs.queue.add(second)
      goOn.resolve()
      await stopped
      expect(ended).toEqual([first.id])
      consume({ slow })
      await vi.waitFor(() => expect(ended).toEqual([first.id, second.id]))
    })

    test('at the deadline the signal fires, and another worker gets the job at once, without losing an attempt', async () => {
      const begun = Promise.withResolvers<void>()
      const endless = ({ signal }: Job) =>
        new Promise<void>((_, reject) => {
          begun.resolve()
          signal.addEventListener('abort', () => reject(signal.reason))
        })
      const consumer = consume({ endless })
      await jobs.queue.add(newJob('endless'))
      await begun.promise
      await consumer.stop(20)
      const run = vi.fn(async () => {
        if (run.mock.calls.length < 3) throw new Error('not yet')
      })
      consume({ endless: run })
      await vi.waitFor(() => expect(run).toHaveBeenCalledTimes(3))
      expect(await jobs.deadLetters.list()).toEqual([])
    })
  })
}
