import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { JobHandler, Schedule } from './jobs.ts'
import type { Schedules } from './schedules.ts'

export interface SchedulesUnderTest {
  /** A worker that knows these schedules. */
  worker(own: Schedule[]): Schedules
  consume(handlers: Record<string, JobHandler>): void
  stop(): Promise<void>
}

/** What every adapter keeps, with one worker. */
export function describeSchedules(name: string, create: () => Promise<SchedulesUnderTest>): void {
  describe(`schedules: ${name}`, () => {
    let system: SchedulesUnderTest
    let started: Schedules[]
    beforeEach(async () => {
      system = await create()
      started = []
    })
    afterEach(async () => {
      await Promise.all(started.map((schedules) => schedules.stop()))
      await system.stop()
    })
    const start = async (own: Schedule[]) => {
      const schedules = system.worker(own)
      started.push(schedules)
      await schedules.start()
      return schedules
    }

    test('adds a job at once, and one more each period', async () => {
      const ticks: number[] = []
      system.consume({ tick: async () => void ticks.push(performance.now()) })
      await start([{ id: 'ticks', type: 'tick', every: { ms: 100 } }])
      await vi.waitFor(() => expect(ticks.length).toBeGreaterThanOrEqual(6), 3000)
      const [first = 0, last = 0] = [ticks.at(0), ticks.at(5)]
      expect(last - first).toBeGreaterThan(350)
    })

    test('each schedule has its own type and period', async () => {
      const seen = { fast: 0, slow: 0 }
      system.consume({ fast: async () => void seen.fast++, slow: async () => void seen.slow++ })
      await start([
        { id: 'fast', type: 'fast', every: { ms: 100 } },
        { id: 'slow', type: 'slow', every: { ms: 60_000 } },
      ])
      await vi.waitFor(() => expect(seen.fast).toBeGreaterThanOrEqual(4), 3000)
      expect(seen.slow).toBe(1)
    })
  })
}
