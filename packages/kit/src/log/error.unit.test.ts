import { expect, test } from 'vitest'
import { serializeError } from './error.ts'

test.each([
  'invalid input syntax for type uuid: "ana\n@example.com"',
  'invalid input value for enum role: "ana"',
  'malformed array literal: "ana"',
  'date/time field value out of range: "ana"',
  'value "1ana" is out of range for type integer',
  "ERR unknown command 'x', with args beginning with: 'ana'",
])('shows no value that a server repeats: %s', (message) => {
  const shown = serializeError(new Error(message, { cause: new Error(message) })) as Record<'message' | 'stack', string>
  expect(JSON.stringify(shown)).not.toMatch(/ana|example/)
  expect(shown.message).toContain('…')
  expect(shown.stack).toContain('error.unit.test.ts')
})

test('leaves other messages as they are', () => {
  const error = new Error('connect ECONNREFUSED 127.0.0.1:5432')
  expect(serializeError(error)).toMatchObject({ message: error.message, stack: error.stack })
})
