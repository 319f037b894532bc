import { expect, test } from 'vitest'
import { inTurns } from './rounds.ts'

const never = new AbortController().signal

test('rounds go forwards and backwards, and ratios stay within them', async () => {
  const order: string[] = []
  const rounds = await inTurns(['a', 'b'], 3, never, async (name) => {
    order.push(name)
    return order.length
  })
  expect(order.join('')).toBe('abbaab')
  expect(rounds.of('a', Number)).toEqual([1, 4, 5])
  expect(rounds.of('b', Number)).toEqual([2, 3, 6])
  expect(rounds.ratios('b', 'a', Number)).toEqual([2, 0.75, 1.2])
  expect(rounds.ratios('a', 'not measured', Number)).toEqual([])
})

test('rounds end when the signal is aborted', async () => {
  const stop = new AbortController()
  const running = inTurns(['a', 'b'], 1000, stop.signal, async () => stop.abort(new Error('enough')))
  await expect(running).rejects.toThrow('enough')
})
