import { expect, it } from 'vitest'
import { withoutPorts } from './forwarded.ts'

it.each([
  ['192.0.2.1', '192.0.2.1'],
  ['192.0.2.1:4711', '192.0.2.1'],
  ['192.0.2.1:4711, 198.51.100.2:80,10.0.0.1', '192.0.2.1, 198.51.100.2,10.0.0.1'],
  ['2001:db8::1', '2001:db8::1'],
  ['[2001:db8::1]', '2001:db8::1'],
  ['[2001:db8::1]:4711, [2001:DB8::2]', '2001:db8::1, 2001:DB8::2'],
  ['::ffff:192.0.2.1', '::ffff:192.0.2.1'],
  ['[::ffff:192.0.2.1]:4711', '::ffff:192.0.2.1'],
  ['unknown, _hidden', 'unknown, _hidden'],
])('%s is %s', (header, addresses) => {
  expect(withoutPorts(header)).toBe(addresses)
})
