import fc from 'fast-check'
import type { Schema } from './document.ts'

/** Returns values that a schema allows, or nearly always allows: what it cannot express is left to the server to refuse. */
export function valuesOf(schema: Schema, name = '', known: Known = () => []): fc.Arbitrary<unknown> {
  const given = known(name)
  const own = generated(schema, name, known)
  return given.length > 0 ? fc.oneof({ weight: 6, arbitrary: fc.constantFrom(...given) }, own) : own
}

/** Values that exist on the server, by the name of a parameter or property: ids, addresses. */
export type Known = (name: string) => readonly unknown[]

function generated(schema: Schema, name: string, known: Known): fc.Arbitrary<unknown> {
  if ('const' in schema) return fc.constant(schema.const)
  if (schema.enum) return fc.constantFrom(...schema.enum)
  const choices = schema.anyOf ?? schema.oneOf
  if (choices) return fc.oneof(...choices.map((choice) => valuesOf(choice, name, known)))
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type
  switch (type) {
    case 'string':
      return textOf(schema)
    case 'integer':
      return fc.oneof(bounds(schema), fc.maxSafeInteger().map(within(schema)))
    case 'number':
      return fc.oneof(bounds(schema), fc.double({ noNaN: true, noDefaultInfinity: true }).map(within(schema)))
    case 'boolean':
      return fc.boolean()
    case 'null':
      return fc.constant(null)
    case 'array':
      return fc.array(valuesOf(schema.items ?? {}, name, known), {
        minLength: schema.minItems ?? 0,
        maxLength: Math.min(schema.maxItems ?? 3, 5),
      })
    case 'object': {
      const parts = Object.entries(schema.properties ?? {}).map(([key, inner]) => [key, valuesOf(inner, key, known)])
      return fc.record(Object.fromEntries(parts) as Record<string, fc.Arbitrary<unknown>>, {
        requiredKeys: schema.required ?? [],
      })
    }
    default:
      return fc.jsonValue({ maxDepth: 2 })
  }
}

/** The edges, and something small. */
function bounds(schema: Schema): fc.Arbitrary<number> {
  const { minimum = 0, maximum = minimum + 1 } = schema
  return fc.constantFrom(minimum, maximum, Math.min(maximum, minimum + 1))
}

function within({ minimum = Number.MIN_SAFE_INTEGER, maximum = Number.MAX_SAFE_INTEGER }: Schema) {
  return (value: number) =>
    value >= minimum && value <= maximum ? value : minimum + (Math.abs(value) % (maximum - minimum + 1))
}

const formats: Record<string, fc.Arbitrary<string>> = {
  uuid: fc.uuid(),
  email: fc
    .tuple(fc.stringMatching(/^[a-z0-9]{1,12}$/), fc.constantFrom('example.com', 'EXAMPLE.org'))
    .map((parts) => parts.join('@')),
  'date-time': fc
    .date({ min: new Date('1990-01-01'), max: new Date('2090-01-01'), noInvalidDate: true })
    .map((date) => date.toISOString()),
  date: fc
    .date({ min: new Date('1990-01-01'), max: new Date('2090-01-01'), noInvalidDate: true })
    .map((date) => date.toISOString().slice(0, 10)),
  uri: fc.webUrl(),
}

function textOf({ format = '', pattern, minLength = 0, maxLength = 40 }: Schema): fc.Arbitrary<string> {
  const ofFormat = formats[format]
  if (ofFormat) return ofFormat
  const length = { minLength, maxLength: Math.max(minLength, Math.min(maxLength, 200)) }
  const plain = fc.oneof(
    fc.string(length),
    fc.string({ unit: 'grapheme', ...length }),
    atLength(minLength),
    atLength(maxLength),
  )
  if (pattern === undefined) return plain
  const matching = new RegExp(pattern, 'u')
  const ofPattern = matchingOf(matching)
  const fallback = 'a'.repeat(Math.max(1, minLength))
  return (ofPattern ?? plain).map((text) => (matching.test(text) && text.length <= maxLength ? text : fallback))
}

/** A text as long as the schema allows: one more is the server's to refuse. */
function atLength(length: number): fc.Arbitrary<string> {
  return fc.constant('a'.repeat(Math.min(length, 4000)))
}

/** Some regular expressions cannot be generated from, such as those with look-aheads. */
function matchingOf(pattern: RegExp): fc.Arbitrary<string> | undefined {
  try {
    return fc.stringMatching(pattern)
  } catch {
    return undefined
  }
}
