import { expect, test } from 'vitest'
import { combine, writeFigures } from './page.ts'
import type { Report } from './report.ts'
import { isWithin, notMeasured, toRow } from './rows.ts'

function run(kit: number, oversold: number): Report {
  const costs = ['bare', 'kit'].map((variant) => ({
    variant,
    parts: { node: 100 },
    sum: 100,
    perSecond: variant === 'kit' ? 1000 * kit : 1000,
  }))
  const rows = [
    toRow('kit to bare', [kit], { budget: { atLeast: 0.85 } }),
    toRow('oversold', [0, 0, oversold], { budget: { equals: 0 } }),
    notMeasured('kit to before', 'needs --beside', { atLeast: 2 }),
  ]
  const sections = [{ measure: 'read', title: 'one row', rows, costs }]
  return { machine: '2 cores', versions: 'Node 24', quick: false, seconds: 240, sections }
}

test('the median of the runs is held to the budget', () => {
  const [section] = combine([run(0.8, 0), run(0.9, 0), run(0.95, 0)])
  expect(section?.rows[0]?.value).toEqual({ median: 0.9, least: 0.8, most: 0.95, count: 3 })
  expect(section?.rows.map(isWithin)).toEqual([true, true, undefined])
})

test('one wrong round of one run is wrong, whatever the medians are', () => {
  expect(combine([run(1, 0), run(1, 3), run(1, 0)])[0]?.rows.map(isWithin)).toEqual([true, false, undefined])
})

test('the figures go between the marks of the page, and can be written again', () => {
  const page = 'before\n<!-- figures: written by labs/bench/page.ts -->of earlier runs<!-- /figures -->\nafter\n'
  const once = writeFigures(page, [run(0.8, 0), run(0.9, 0), run(0.95, 0)])
  expect(once).toContain('The medians of 3 runs [least – most] on 2 cores')
  expect(once).toContain('| read | kit to bare | 0.90 [0.80 – 0.95] | ≥ 0.85 | ✓ |')
  expect(once).toContain('x-axis ["bare", "kit"]\n  y-axis 0 --> 110\n  bar [100, 90]')
  expect(once.match(/xychart/g)).toHaveLength(1) // orders on one row were not measured
  expect(once).not.toContain('of earlier runs')
  expect(writeFigures(once, [run(0.8, 0), run(0.9, 0), run(0.95, 0)])).toBe(once)
  expect(() => writeFigures('no marks', [run(1, 0)])).toThrow('has no')
})
