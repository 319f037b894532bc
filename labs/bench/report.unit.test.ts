import { expect, test } from 'vitest'
import { showEnd, showRow, showSection, warnOfOthers } from './report.ts'
import { notMeasured, toRow } from './rows.ts'

const squeeze = (text: string) => text.replace(/ +/g, ' ').trim()

test('a row shows median, least and most, and whether its budget holds', () => {
  expect(squeeze(showRow(toRow('kit to bare', [0.8, 0.9123, 1], { budget: { atLeast: 0.85 } })))).toBe(
    '✓ kit to bare 0.91 [0.80 – 1.00] ≥ 0.85',
  )
  expect(squeeze(showRow(toRow('memory', [212.4], { budget: { atMost: 150 } })))).toBe('✗ memory 212 ≤ 150')
  expect(squeeze(showRow(toRow('oversold', [0, 0], { budget: { equals: 0 } })))).toBe('✓ oversold 0 [0 – 0] = 0')
})

test('what was not measured says why, and has no number', () => {
  expect(squeeze(showRow(notMeasured('jobs, to before', 'needs --beside', { atLeast: 3 })))).toBe(
    'jobs, to before not measured ≥ 3 (needs --beside)',
  )
})

test('the end counts the budgets', () => {
  const rows = [toRow('a', [1], { budget: { atLeast: 1 } }), notMeasured('b', 'why', { atLeast: 1 }), toRow('c', [1])]
  expect(showEnd({ seconds: 245, sections: [{ measure: 'm', title: 't', rows }] })).toBe(
    '\n1 of 1 budgets hold; 1 not measured (4 min 5 s)',
  )
})

test('a section shows what its requests cost', () => {
  const costs = [{ variant: 'kit', parts: { node: 101.4, nginx: 40 }, sum: 141.4, perSecond: 7000.6 }]
  const [, title, , head, kit] = showSection({ measure: 'read', title: 'one row', rows: [], costs }).split('\n')
  expect(title).toBe('read · one row')
  expect(squeeze(head ?? '')).toBe('node nginx sum requests/s')
  expect(squeeze(kit ?? '')).toBe('kit 101 40 141 7001')
})

test('a busy machine is mentioned', () => {
  expect(warnOfOthers(0.1, 2)).toBeUndefined()
  expect(warnOfOthers(1.5, 2)).toContain('1.5 on 2 cores')
})
