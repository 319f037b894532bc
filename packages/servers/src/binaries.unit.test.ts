import { expect, test } from 'vitest'
import { isAtLeast } from './binaries.ts'

test.each([
  ['1.22.1', '1.18', true],
  ['1.9.15', '1.18', false],
  ['15.18', '15', true],
  ['14.22', '15', false],
  ['6.2', '6.2', true],
  ['18', '15.1', true],
])('version %s against the floor %s: %s', (version, floor, enough) => {
  expect(isAtLeast(version, floor)).toBe(enough)
})
