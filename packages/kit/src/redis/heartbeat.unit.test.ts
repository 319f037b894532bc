import { EventEmitter } from 'node:events'
import type { Redis } from 'ioredis'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { startHeartbeat } from './heartbeat.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** What the heartbeat sees of a connection; while it answers, each PING brings seven bytes. */
function createConnection() {
  const redis = Object.assign(new EventEmitter(), {
    status: 'ready',
    stream: { bytesRead: 0 },
    answers: true,
    pings: 0,
    async ping() {
      redis.pings++
      if (!redis.answers) return await new Promise<string>(() => undefined)
      redis.stream.bytesRead += 7
      return 'PONG'
    },
  })
  return redis
}

test('an idle connection is asked twice a second, a busy one is not', async () => {
  const [idle, busy] = [createConnection(), createConnection()]
  for (const redis of [idle, busy]) startHeartbeat(redis as unknown as Redis)
  const work = setInterval(() => busy.stream.bytesRead++, 100)
  await vi.advanceTimersByTimeAsync(10_000)
  clearInterval(work)
  expect(idle.pings).toBeGreaterThan(18)
  expect(idle.pings).toBeLessThanOrEqual(20)
  expect(busy.pings).toBe(0)
})

test.each([0, 100, 240, 260, 400, 490])(
  'one that goes silent %d ms after a look is asked within half a second, and not answering within one',
  async (afterMs) => {
    const redis = createConnection()
    const { isAnswering } = startHeartbeat(redis as unknown as Redis)
    await vi.advanceTimersByTimeAsync(5000 + afterMs)
    redis.stream.bytesRead++ // the last that comes
    redis.answers = false
    const before = redis.pings
    await vi.advanceTimersByTimeAsync(500)
    expect(redis.pings).toBe(before + 1)
    await vi.advanceTimersByTimeAsync(500)
    expect(isAnswering()).toBe(false)
  },
)
