import { pino } from 'pino'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createConnections } from './connections.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

function create() {
  const lines: string[] = []
  const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(JSON.parse(line).reason) })
  const connections = createConnections({ log })
  const retired = vi.fn()
  connections.onRetire(retired)
  return { connections, retired, lines }
}

test('retires at once, then at most each half second, and the last news counts', () => {
  const { connections, retired } = create()
  connections.retire(0, 'read-only')
  expect(connections.generation()).toBe(1)
  connections.retire(0, 'read-only') // old news
  connections.retire(1, 'read-only')
  connections.retire(1, 'read-only')
  expect(retired).toHaveBeenCalledTimes(1)
  vi.advanceTimersByTime(500)
  expect(retired).toHaveBeenCalledTimes(2)
  vi.advanceTimersByTime(60_000)
  expect(connections.generation()).toBe(2)
})

test('news that are due earlier overtake those that are due later', () => {
  const { connections, retired } = create()
  connections.retire(0, 'a new connection is read-only', 1000)
  connections.retire(0, 'a write failed')
  expect(retired).toHaveBeenCalledTimes(1)
  vi.advanceTimersByTime(2000)
  expect(retired).toHaveBeenCalledTimes(1)
})

test('a server that stays read-only is logged every ten seconds', () => {
  const { connections, lines } = create()
  for (let second = 0; second < 20; second++) {
    connections.retire(connections.generation(), 'read-only')
    vi.advanceTimersByTime(1000)
  }
  expect(lines).toHaveLength(2)
})

test('is allowed for a time, then notifies the owners of connections, also when the timer is late', () => {
  const { connections, retired } = create()
  expect(connections.allowed()).toBe(true)
  connections.allowFor(3000)
  vi.advanceTimersByTime(2900)
  connections.allowFor(3000)
  vi.advanceTimersByTime(2900)
  expect([connections.allowed(), retired.mock.calls.length]).toEqual([true, 0])
  vi.advanceTimersByTime(100)
  expect([connections.allowed(), retired.mock.calls.length]).toEqual([false, 1])
  connections.allowFor(3000)
  vi.setSystemTime(Date.now() + 60_000) // the machine slept: no timer ran
  expect(connections.allowed()).toBe(false)
  connections.allowFor(0)
  expect([connections.allowed(), retired.mock.calls.length]).toEqual([false, 2])
})

test('says when it becomes allowed and when no longer, once each, also when the timer is late', () => {
  const { connections } = create()
  const changes: boolean[] = []
  const stop = connections.onAllowed((allowed) => changes.push(allowed))
  connections.allowFor(3000)
  vi.advanceTimersByTime(2900)
  connections.allowFor(3000)
  expect(changes).toEqual([])
  vi.advanceTimersByTime(3000)
  connections.allowFor(0)
  expect(changes).toEqual([false])
  connections.allowFor(3000)
  expect(changes).toEqual([false, true])
  vi.setSystemTime(Date.now() + 60_000) // the machine slept: no timer ran
  connections.allowFor(3000)
  expect(changes).toEqual([false, true, false, true])
  stop()
  connections.allowFor(0)
  expect(changes).toHaveLength(4)
})
