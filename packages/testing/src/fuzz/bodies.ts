import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import type { Operation, Schema } from './document.ts'
import { oddBodies, oddJson, oddText } from './odd-values.ts'
import { type Known, valuesOf } from './schema-values.ts'

export interface FuzzBody {
  bytes: Buffer | undefined
  headers: [name: string, value: string][]
}

export interface BodyOptions {
  /** Bodies of other media types than JSON, as files would be. Sent to the operations that take them, and now and then to others. */
  files: Record<string, Buffer[]>
}

const none: FuzzBody = { bytes: undefined, headers: [] }

/** Returns bodies for an operation: of each media type that it takes, and others. */
export function bodiesOf(
  operation: Operation,
  { files, known }: BodyOptions & { known: Known },
): fc.Arbitrary<FuzzBody> {
  const own = Object.entries(operation.bodies).flatMap(([type, schema]) => {
    if (/\bjson$/.test(type)) return [jsonOf(schema, known).map((bytes) => body(type, bytes))]
    const examples = files[type] ?? []
    return examples.length > 0 ? [fc.constantFrom(...examples).map((bytes) => body(type, bytes))] : []
  })
  const usual = own.length > 0 ? fc.oneof(...own) : fc.constant(none)
  const ofFiles = Object.entries(files).flatMap(([type, examples]) => examples.map((bytes) => body(type, bytes)))
  const strange = fc.oneof(
    oddBodies.map((bytes) => body('application/json', bytes)),
    fc.constantFrom(none, ...ofFiles),
    fc.tuple(fc.constantFrom(...types), oddBodies).map(([type, bytes]) => body(type, bytes)),
    usual.chain(encoded),
    usual.chain(framed),
  )
  return fc.oneof({ weight: 6, arbitrary: usual }, { weight: 1, arbitrary: strange })
}

const types = [
  'application/json; charset=utf-16',
  'application/json; charset=x',
  'APPLICATION/JSON',
  'application/problem+json',
  'application/x-www-form-urlencoded',
  'multipart/form-data; boundary=x',
  'text/plain',
  'image/svg+xml',
  'a/b',
  '/',
]

function body(type: string, bytes: Buffer): FuzzBody {
  return { bytes, headers: [['Content-Type', type]] }
}

/** A JSON body in which one field in twelve is odd, missing, or too many. */
function jsonOf(schema: Schema, known: Known): fc.Arbitrary<Buffer> {
  const { properties = {}, required = [] } = schema
  const entries = Object.entries(properties)
  if (entries.length === 0)
    return valuesOf(schema, '', known).map((value) => Buffer.from(JSON.stringify(value) ?? 'null'))
  const fields = entries.map(([name, inner]) =>
    fc.oneof(
      { weight: 14, arbitrary: valuesOf(inner, name, known).map((value) => field(name, JSON.stringify(value))) },
      { weight: 1, arbitrary: oddJson.map((text) => field(name, text)) },
      { weight: required.includes(name) ? 1 : 10, arbitrary: fc.constant('') },
    ),
  )
  const more = fc.tuple(oddText, oddJson).map(([name, text]) => field(name, text))
  const extra = fc.oneof({ weight: 14, arbitrary: fc.constant('') }, { weight: 1, arbitrary: more })
  return fc.tuple(...fields, extra).map((parts) => Buffer.from(`{${parts.filter((part) => part !== '').join(',')}}`))
}

const field = (name: string, text: string) => `${JSON.stringify(name)}:${text}`

const bomb = gzipSync(Buffer.alloc(4_000_000, ' '))

/** The same body under a Content-Encoding, which may be a lie. */
function encoded({ bytes = Buffer.from('{}'), headers }: FuzzBody): fc.Arbitrary<FuzzBody> {
  const named = (encoding: string, content: Buffer): FuzzBody => ({
    bytes: content,
    headers: [...headers, ['Content-Encoding', encoding]],
  })
  return fc.constantFrom(
    named('gzip', gzipSync(bytes)),
    named('gzip', bytes),
    named('gzip', gzipSync(bytes).subarray(0, -4)),
    named('gzip', bomb),
    named('br', bytes),
    named('identity', bytes),
    named('gzip, gzip', gzipSync(gzipSync(bytes))),
    named('x', bytes),
  )
}

/** The same body with a length, or chunks, that are right or wrong. */
function framed({ bytes = Buffer.from('{}'), headers }: FuzzBody): fc.Arbitrary<FuzzBody> {
  const chunk = Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')])
  const last = Buffer.from('0\r\n\r\n')
  const chunked: [string, string] = ['Transfer-Encoding', 'chunked']
  const length = (value: string): [string, string] => ['Content-Length', value]
  return fc.constantFrom<FuzzBody>(
    { bytes: Buffer.concat([chunk, last]), headers: [...headers, chunked] },
    { bytes: chunk, headers: [...headers, chunked] }, // without an end
    { bytes: Buffer.from('zz\r\n'), headers: [...headers, chunked] },
    { bytes: Buffer.from('ffffffffffffffff\r\n'), headers: [...headers, chunked] },
    { bytes: Buffer.concat([chunk, last]), headers: [...headers, chunked, length(String(bytes.length))] },
    { bytes, headers: [...headers, length(String(bytes.length + 10))] }, // more than comes
    { bytes, headers: [...headers, length('0')] },
    { bytes, headers: [...headers, length(String(bytes.length)), length(String(bytes.length))] },
    { bytes, headers: [...headers, length('3000000')] },
  )
}
