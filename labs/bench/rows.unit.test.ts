import { expect, test } from 'vitest'
import { isWithin, judge, notMeasured, toRow } from './rows.ts'

test('the median is held to the budget', () => {
  expect(isWithin(toRow('a', [0.5, 0.9, 0.9], { budget: { atLeast: 0.85 } }))).toBe(true)
  expect(isWithin(toRow('a', [0.5, 0.8, 0.9], { budget: { atLeast: 0.85 } }))).toBe(false)
  expect(isWithin(toRow('a', [2, 3, 9], { budget: { atMost: 3 } }))).toBe(true)
  expect(isWithin(toRow('a', [2, 3.1, 9], { budget: { atMost: 3 } }))).toBe(false)
})

test('what must equal a value must do so in each round', () => {
  expect(isWithin(toRow('oversold', [0, 0, 0], { budget: { equals: 0 } }))).toBe(true)
  expect(isWithin(toRow('oversold', [0, 0, 1], { budget: { equals: 0 } }))).toBe(false)
})

test('what was not measured is neither held nor missed', () => {
  const rows = [
    toRow('held', [1], { budget: { atLeast: 1 } }),
    toRow('missed', [1], { budget: { atLeast: 2 } }),
    notMeasured('later', 'there is no strace', { atMost: 3 }),
    toRow('empty', [], { budget: { atMost: 3 } }),
    toRow('without a budget', [7]),
  ]
  expect(judge([{ measure: 'm', title: 't', rows }])).toEqual({ held: 1, missed: 1, unmeasured: 2 })
})
