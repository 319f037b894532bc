import { expect, test } from 'vitest'
import { fingerprint, parseKey } from './request.ts'

test('takes a key bare or as a quoted string, and both mean the same', () => {
  expect(parseKey('8e03978e-40d5')).toBe('8e03978e-40d5')
  expect(parseKey('"8e03978e-40d5"')).toBe('8e03978e-40d5')
  expect(parseKey(' "with a \\"word\\" and \\\\" ')).toBe('with a "word" and \\')
  expect(parseKey('k'.repeat(255))).toHaveLength(255)
})

test.each([undefined, '', '  ', '""'])('%j is a missing key', (header) => {
  expect(() => parseKey(header)).toThrow(expect.objectContaining({ code: 'E_IDEMPOTENCY_KEY_MISSING' }))
})

test.each(['two keys', 'a, b', '"open', '"a"b', 'é', 'k'.repeat(256), `"${'k'.repeat(256)}"`, ['a', 'b']])(
  '%j is refused',
  (header) => {
    expect(() => parseKey(header)).toThrow(expect.objectContaining({ code: 'E_VALIDATION' }))
  },
)

test('the fingerprint ignores the order of fields, and nothing else', () => {
  const one = fingerprint('post', '/v1/things', { quantity: 1, seats: [{ row: 1, seat: 2 }] })
  expect(fingerprint('POST', '/v1/things', { seats: [{ seat: 2, row: 1 }], quantity: 1 })).toBe(one)
  expect(fingerprint('POST', '/v1/things', { seats: [{ row: 1, seat: 2 }], quantity: 2 })).not.toBe(one)
  expect(fingerprint('POST', '/v1/others', { quantity: 1, seats: [{ row: 1, seat: 2 }] })).not.toBe(one)
  expect(fingerprint('POST', '/v1/things', ['a', 'b'])).not.toBe(fingerprint('POST', '/v1/things', ['b', 'a']))
  expect(fingerprint('POST', '/a', JSON.parse('{"__proto__": 1}'))).not.toBe(fingerprint('POST', '/a', {}))
  expect(fingerprint('POST', '/a', undefined)).not.toBe(fingerprint('POST', '/a', null))
})
