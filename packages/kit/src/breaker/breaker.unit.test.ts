import { setTimeout as wait } from 'node:timers/promises'
import { pino } from 'pino'
import { expect, test, vi } from 'vitest'
import { createBreakers } from './cockatiel.ts'

const log = pino({ level: 'silent' })
const failing = () => Promise.reject(new Error('unreachable'))
const held = expect.objectContaining({ code: 'E_PEER_UNAVAILABLE', retryAfterMs: expect.any(Number) })
/** Lets time pass only where a test says so, and not on a busy machine. */
function holdClocks(onTestFinished: (clean: () => void) => void) {
  vi.useFakeTimers({ toFake: ['Date', 'performance'] })
  vi.advanceTimersByTime(1000) // as of a process that has run for a while
  onTestFinished(() => void vi.useRealTimers())
}

test('after failures in a row nothing is called, and one call alone finds out whether the peer is back', async () => {
  const breakers = createBreakers({ log, failures: 3, openMs: 50 })
  const breaker = breakers.of('peer')
  expect(breakers.states()).toEqual({ peer: { open: false, refused: 0 } })
  for (let n = 0; n < 3; n++) await expect(breaker.run(failing)).rejects.toThrow('unreachable')
  const call = vi.fn(async () => 'done')
  await expect(breaker.run(call)).rejects.toEqual(held)
  expect(call).not.toHaveBeenCalled()
  expect(breakers.states()).toEqual({ peer: { open: true, refused: 1 } })

  await wait(60)
  const probe = vi.fn(failing)
  const outcomes = await Promise.allSettled([1, 2, 3].map(() => breaker.run(probe)))
  expect(probe).toHaveBeenCalledOnce()
  expect(outcomes.filter(({ status }) => status === 'rejected')).toHaveLength(3)

  await vi.waitFor(async () => expect(await breaker.run(call)).toBe('done'))
  expect(await Promise.all([breaker.run(call), breaker.run(call)])).toEqual(['done', 'done'])
  expect(breakers.states().peer).toMatchObject({ open: false })
})

test('a success in between resets the count', async () => {
  const breaker = createBreakers({ log, failures: 2, openMs: 1000 }).of('peer')
  for (let n = 0; n < 3; n++) {
    await expect(breaker.run(failing)).rejects.toThrow('unreachable')
    expect(await breaker.run(async () => n)).toBe(n)
  }
})

test('what is no failure of the peer opens nothing', async () => {
  const isFailure = (error: Error) => error.message !== 'refused'
  const breaker = createBreakers({ log, failures: 1, openMs: 1000 }).of('peer', { isFailure })
  for (let n = 0; n < 3; n++) {
    await expect(breaker.run(() => Promise.reject(new Error('refused')))).rejects.toThrow('refused')
  }
  await expect(breaker.run(failing)).rejects.toThrow('unreachable')
  await expect(breaker.run(failing)).rejects.toEqual(held)
})

test('a thousand calls that always fail hold no other call back while the peer answers its check, which costs one request a second', async () => {
  const check = vi.fn(async () => 'fine')
  const breakers = createBreakers({ log, failures: 5, openMs: 60_000 })
  const breaker = breakers.of('peer', { check })
  const bad = Array.from({ length: 1000 }, () => breaker.run(failing).catch((error: Error) => error.message))
  expect(new Set(await Promise.all(bad))).toEqual(new Set(['unreachable']))
  for (let n = 0; n < 20; n++) {
    await expect(breaker.run(failing, { isFirst: false })).rejects.toThrow('unreachable')
    expect(await breaker.run(async () => n)).toBe(n)
  }
  expect(breakers.states().peer).toEqual({ open: false, refused: 0 })
  expect(check.mock.calls.length).toBeLessThanOrEqual(5)
})

test('once its check fails too, calls are held back, and the check alone finds out whether it is back', async () => {
  let alive = false
  const check = vi.fn(async () => {
    if (!alive) throw new Error('no answer')
  })
  const breaker = createBreakers({ log, failures: 3, openMs: 30 }).of('peer', { check })
  for (let n = 0; n < 3; n++) await expect(breaker.run(failing, { isFirst: n > 0 })).rejects.toThrow('unreachable')
  const call = vi.fn(async () => 'done')
  for (let n = 0; n < 3; n++, await wait(20)) await expect(breaker.run(call)).rejects.toEqual(held)
  expect(call).not.toHaveBeenCalled()
  alive = true
  await vi.waitFor(async () => expect(await breaker.run(call, { isFirst: false })).toBe('done'))
  expect(call).toHaveBeenCalledOnce()
})

test('without a check, what failed before counts for nothing, and probes last', async ({ onTestFinished }) => {
  holdClocks(onTestFinished)
  const breaker = createBreakers({ log, failures: 2, openMs: 100 }).of('peer')
  for (let n = 0; n < 5; n++) await expect(breaker.run(failing, { isFirst: false })).rejects.toThrow('unreachable')
  for (let n = 0; n < 2; n++) await expect(breaker.run(failing)).rejects.toThrow('unreachable')
  vi.advanceTimersByTime(110) // it is the turn of a probe, and not yet of one that failed before
  const again = vi.fn(async () => 'done')
  await expect(breaker.run(again, { isFirst: false })).rejects.toEqual(held)
  expect(await breaker.run(async () => 'done')).toBe('done')
  expect(await breaker.run(again, { isFirst: false })).toBe('done')
})

test('when no first call comes, one that failed before probes in the end', async () => {
  const breaker = createBreakers({ log, failures: 1, openMs: 30 }).of('peer')
  await expect(breaker.run(failing)).rejects.toThrow('unreachable')
  await vi.waitFor(async () => expect(await breaker.run(async () => 'done', { isFirst: false })).toBe('done'))
})

test.each([
  ['said no', async () => false],
  ['failed', () => Promise.reject(new Error('no database'))],
])('a probe whose begin %s reached no peer, so it closes nothing', async (_, begin) => {
  const breakers = createBreakers({ log, failures: 1, openMs: 20 })
  const breaker = breakers.of('peer')
  await expect(breaker.run(failing)).rejects.toThrow('unreachable')
  await wait(30)
  const call = vi.fn(failing)
  const outcome = await breaker.run(call, { begin }).catch((error: Error) => error.message)
  expect([undefined, 'no database']).toContain(outcome)
  expect(call).not.toHaveBeenCalled()
  expect(breakers.states().peer?.open).toBe(true)
  // The next call is the probe.
  await expect(breaker.run(call, { begin: async () => true })).rejects.toThrow('unreachable')
  await expect(breaker.run(call)).rejects.toEqual(held)
  expect(call).toHaveBeenCalledOnce()
})

test('a peer that answers its check while every call fails is held back in the end, until a call succeeds', async ({
  onTestFinished,
}) => {
  holdClocks(onTestFinished)
  const check = vi.fn(async () => 'fine')
  const breakers = createBreakers({ log, failures: 5, openMs: 40, hopelessMs: 50 })
  const breaker = breakers.of('peer', { check })
  for (let n = 0; n < 25; n++) await breaker.run(failing).catch(() => undefined)
  expect(breakers.states().peer?.open).toBe(false)
  vi.advanceTimersByTime(60)
  for (let n = 0; n < 3; n++) await breaker.run(failing, { isFirst: false }).catch(() => undefined)
  expect(breakers.states().peer?.open).toBe(false)
  await expect(breaker.run(failing)).rejects.toThrow('unreachable')
  await expect(breaker.run(failing)).rejects.toEqual(held)
  vi.advanceTimersByTime(50)
  await expect(breaker.run(failing)).rejects.toThrow('unreachable') // the check alone does not close it
  expect(breakers.states().peer?.open).toBe(true)
  await vi.waitFor(async () => expect(await breaker.run(async () => 'done')).toBe('done'))
  expect(breakers.states().peer?.open).toBe(false)
})
