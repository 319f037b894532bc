import { expect, test } from 'vitest'
import { withoutSample } from './pages.ts'

const sample = { labs: ['oversell', 'order-numbers'], errors: ['E_SOLD_OUT'], settings: ['ORDER_HOLD_MS'] }
const clean = (lines: string[]) => withoutSample(lines.join('\n'), sample).split('\n')

test('marked passages go', () => {
  expect(
    clean(['a', '<!-- sample -->', 'the shop', '<!-- /sample -->', 'b <!-- sample -->and the shop<!-- /sample -->']),
  ).toEqual(['a', 'b '])
})

test('sections of its errors and rows of its variables go, their neighbours stay', () => {
  const page = ['### E_FORBIDDEN', 'no', '', '### E_SOLD_OUT', 'gone', '', '### E_TIMEOUT', 'late']
  expect(clean(page)).toEqual(['### E_FORBIDDEN', 'no', '', '### E_TIMEOUT', 'late'])
  expect(clean(['### E_SOLD_OUT', 'last'])).toEqual([''])
  expect(clean(['| `PORT` | 3000 |', '| `ORDER_HOLD_MS` | 900000 |'])).toEqual(['| `PORT` | 3000 |'])
})

test('rows, items and code that name a lab that goes are dropped, and in prose only the link is', () => {
  expect(
    clean(['| [oversell](problems/oversell.md) | sold thrice |', '| [sessions](problems/sessions.md) | out |']),
  ).toEqual(['| [sessions](problems/sessions.md) | out |'])
  expect(clean(['```sh', 'npm run lab oversell', 'npm run lab sessions', '```'])).toEqual([
    '```sh',
    'npm run lab sessions',
    '```',
  ])
  // A part of a page: the row is about something else.
  expect(clean(['| `PORT` | as [there](problems/oversell.md#the-fix) |'])).toEqual(['| `PORT` | as there |'])
  expect(clean(['See [numbers](order-numbers.md) and [out](sessions.md).'])).toEqual([
    'See numbers and [out](sessions.md).',
  ])
})

test('a guide with the name of a lab stays, and so does what leads to it', () => {
  const row = '| [Oversell](oversell.md) | how to |'
  expect(withoutSample(row, sample, true)).toBe(row)
  expect(withoutSample('See [why](../problems/oversell.md).', sample, true)).toBe('See why.')
  expect(clean(['- [the guide](../guides/oversell.md)'])).toEqual(['- [the guide](../guides/oversell.md)'])
})

test('the diagram loses its node', () => {
  const diagram = [
    '```mermaid',
    '  api[apps/api] --> kit & tickets',
    '  tickets[packages/tickets] -- x --> kit[kit]',
    '```',
  ]
  expect(clean(diagram)).toEqual(['```mermaid', '  api[apps/api] --> kit', '  kit[kit]', '```'])
})
