import { setTimeout as wait } from 'node:timers/promises'
import { pino } from 'pino'
import { expect, test, vi } from 'vitest'
import { createBreakers } from './cockatiel.ts'

const log = pino({ level: 'silent' })
const failing = () => Promise.reject(new Error('away'))
const away = expect.objectContaining({ code: 'E_PEER_UNAVAILABLE', retryAfterMs: expect.any(Number) })

test('after failures in a row nothing is called, and one call alone finds out whether the peer is back', async () => {
  const breakers = createBreakers({ log, failures: 3, openMs: 50 })
  const breaker = breakers.of('peer')
  expect(breakers.states()).toEqual({ peer: { open: false, refused: 0 } })
  for (let n = 0; n < 3; n++) await expect(breaker.run(failing)).rejects.toThrow('away')
  const call = vi.fn(async () => 'done')
  await expect(breaker.run(call)).rejects.toEqual(away)
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

test('a success in between begins the count anew', async () => {
  const breaker = createBreakers({ log, failures: 2, openMs: 1000 }).of('peer')
  for (let n = 0; n < 3; n++) {
    await expect(breaker.run(failing)).rejects.toThrow('away')
    expect(await breaker.run(async () => n)).toBe(n)
  }
})

test('what is no failure of the peer opens nothing', async () => {
  const breaker = createBreakers({ log, failures: 1, openMs: 1000 }).of('peer', (error) => error.message !== 'refused')
  for (let n = 0; n < 3; n++) {
    await expect(breaker.run(() => Promise.reject(new Error('refused')))).rejects.toThrow('refused')
  }
  await expect(breaker.run(failing)).rejects.toThrow('away')
  await expect(breaker.run(failing)).rejects.toEqual(away)
})
