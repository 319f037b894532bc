import { expect, test } from 'vitest'
import { ratios, summarize } from './summary.ts'

test('a summary has the median, the least and the most', () => {
  expect(summarize([3, 1, 2])).toEqual({ median: 2, least: 1, most: 3, count: 3 })
  expect(summarize([10, 1, 4, 2])).toEqual({ median: 3, least: 1, most: 10, count: 4 })
  expect(summarize([7])).toEqual({ median: 7, least: 7, most: 7, count: 1 })
})

test('of nothing there is no summary', () => {
  expect(summarize([])).toBeUndefined()
})

test('ratios are taken within a round, not of the medians', () => {
  expect(ratios([10, 40, 90], [10, 20, 30])).toEqual([1, 2, 3])
})

test('a round with a counter that stood still or went down makes no ratio', () => {
  expect(ratios([10, 0, -5, 8, 6], [5, 5, 5, 0, -2])).toEqual([2])
})

test('a round that one side did not get to makes no ratio', () => {
  expect(ratios([4, 6], [2])).toEqual([2])
})
