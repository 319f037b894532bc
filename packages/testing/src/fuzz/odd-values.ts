import fc from 'fast-check'

/** Texts that have broken parsers, databases, caches and logs before. */
const famousTexts = [
  '',
  ' ',
  '\0',
  'a\0b',
  '\u0001\u0008\u001f',
  '\u007f\u0085\u009f',
  'line\r\nbreak: 1',
  '\u2028\u2029',
  '\ud800',
  '\udfff\ud800',
  '\ufeffbom',
  '\u202etxet',
  'e\u0301\u00e9',
  '💥👩‍👩‍👧‍👦',
  'İıſK',
  "' OR 1=1 --",
  '"; DROP TABLE x; --',
  '{"$ne":null}',
  `$\{jndi:ldap://127.0.0.1/a}`,
  '<script>alert(1)</script>',
  '../../../../etc/passwd',
  '..%2f..%2f',
  '%',
  '%00',
  '%zz',
  '%c0%af',
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'hasOwnProperty',
  '__proto__[x]',
  'a[b][c]=d',
  'null',
  'undefined',
  'NaN',
  'Infinity',
  'true',
]

const famousNumbers = ['0', '-0', '-1', '1.5', '2147483647', '2147483648', '4294967296', '9007199254740993']
const hugeNumbers = ['99999999999999999999', '1e21', '1e308', '1e309', '-1e309', '0x10', '1_000', '٣', '1'.repeat(400)]

const famousDates = [
  '0000-01-01T00:00:00Z',
  '0001-01-01T00:00:00+14:00',
  '1969-12-31T23:59:59.999Z',
  '2024-02-30T00:00:00Z',
  '2024-12-31T23:59:60Z',
  '2024-01-01T24:00:00Z',
  '9999-12-31T23:59:59-01:00',
  '9999-12-31T23:59:59.999999999Z',
  '+275760-09-13T00:00:00Z',
  '-000001-01-01T00:00:00Z',
  '2024-01-01T00:00:00+99:99',
]

const famousIds = [
  '00000000-0000-0000-0000-000000000000',
  'ffffffff-ffff-ffff-ffff-ffffffffffff',
  '{00000000-0000-4000-8000-000000000000}',
  '00000000000040008000000000000000',
  'urn:uuid:00000000-0000-4000-8000-000000000000',
]

/** What a client may send back as a cursor, a token or a tag: JSON in base64url, of the right form or of another one. */
const encodedTexts = fc
  .oneof(
    fc.json({ maxDepth: 2 }),
    fc
      .tuple(fc.constantFrom(...famousDates, '2030-01-01T00:00:00.000Z', '\0'), fc.oneof(fc.uuid(), fc.constant('\0')))
      .map((key) => JSON.stringify(key)),
    fc.constantFrom('[]', '[null,null]', '[1e999]', '{"__proto__":1}', '["a'),
  )
  .map((text) => Buffer.from(text).toString('base64url'))

const longTexts = fc
  .tuple(
    fc.constantFrom('a', '0', '%', '"', '\\', 'é', '💥', '\0', '[', ' '),
    fc.constantFrom(65, 201, 256, 1025, 4097, 9000),
  )
  .map(([unit, count]) => unit.repeat(count))

/** Any text; most are short. */
export const oddText: fc.Arbitrary<string> = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...famousTexts) },
  { weight: 2, arbitrary: fc.constantFrom(...famousNumbers, ...hugeNumbers) },
  { weight: 2, arbitrary: fc.constantFrom(...famousDates) },
  { weight: 1, arbitrary: fc.constantFrom(...famousIds) },
  { weight: 1, arbitrary: encodedTexts },
  { weight: 1, arbitrary: longTexts },
  { weight: 3, arbitrary: fc.string({ unit: 'binary', maxLength: 20 }) },
)

/** The text of one JSON value, which need not be one that JavaScript can hold: `1e999`, a key that occurs twice. */
export const oddJson: fc.Arbitrary<string> = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('null', 'true', 'false', '[]', '{}', '""', '[[]]', '{"":""}') },
  { weight: 4, arbitrary: fc.constantFrom(...famousNumbers, ...hugeNumbers.slice(0, 5)) },
  { weight: 6, arbitrary: oddText.map((text) => JSON.stringify(text)) },
  { weight: 2, arbitrary: fc.json({ maxDepth: 3 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom('{"a":1,"a":2}', '{"__proto__":{"x":1}}', '{"constructor":{"prototype":{}}}'),
  },
  { weight: 1, arbitrary: fc.constantFrom(10, 1000, 20_000).map((depth) => '['.repeat(depth) + ']'.repeat(depth)) },
)

/** A whole body that should be JSON: too deep, too wide, too large, or none at all. */
export const oddBodies: fc.Arbitrary<Buffer> = fc.oneof(
  { weight: 4, arbitrary: oddJson.map((text) => Buffer.from(text)) },
  {
    weight: 2,
    arbitrary: fc
      .constantFrom('', '{', '{"a"', '[1,', 'nul', '{}{}', "{'a':1}", '\ufeff{}')
      .map((text) => Buffer.from(text)),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(30, 1000, 7500).map((count) => {
      const fields = Array.from({ length: count }, (_, index) => `"k${index}":0`)
      return Buffer.from(`{${fields.join(',')}}`)
    }),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(99_999, 100_001, 2_200_000).map((size) => Buffer.from(`{"a":"${'a'.repeat(size)}"}`)),
  },
  { weight: 2, arbitrary: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)) },
)
