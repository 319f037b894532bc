import fc from 'fast-check'
import { type BodyOptions, bodiesOf } from './bodies.ts'
import type { Operation, Parameter } from './document.ts'
import { type Header, oddHeaders } from './odd-headers.ts'
import { oddText } from './odd-values.ts'
import { valuesOf } from './schema-values.ts'
import type { RawRequest } from './wire.ts'

export interface FuzzRequest extends RawRequest {
  /** Who sends it: a name among the fuzz's identities. */
  identity: string
}

export interface RequestOptions extends BodyOptions {
  identities: string[]
  /** Who sends the requests of an operation, where that is not any of them: one that ends sessions needs a user of its own. */
  identitiesFor?(operation: Operation): string[] | undefined
  /** How often an operation is asked for, relative to others; default 4. For those that are expensive: hashes of passwords. */
  weightOf?(operation: Operation): number | undefined
  /** Values that exist on the server, by operation and by the name of a parameter or property. */
  known(operation: Operation, name: string): readonly unknown[]
}

/** Returns requests for every operation. Most have one or two odd parts, so that they get past the first check that refuses. */
export function requestsFor(operations: Operation[], options: RequestOptions): fc.Arbitrary<FuzzRequest> {
  return fc.oneof(
    ...operations.map((operation) => ({
      weight: options.weightOf?.(operation) ?? 4,
      arbitrary: requestsOf(operation, options),
    })),
  )
}

/** One in `1 + often` is odd. */
function seldom<T>(often: number, usual: fc.Arbitrary<T>, odd: fc.Arbitrary<T>): fc.Arbitrary<T> {
  return fc.oneof({ weight: often, arbitrary: usual }, { weight: 1, arbitrary: odd })
}

function requestsOf(operation: Operation, options: RequestOptions): fc.Arbitrary<FuzzRequest> {
  const known = (name: string) => options.known(operation, name)
  const ofPlace = (place: Parameter['in']) => operation.parameters.filter((parameter) => parameter.in === place)
  const textOf = ({ name, schema = {} }: Parameter) => valuesOf(schema, name, known).map((value) => String(value))
  return fc
    .record({
      identity: seldom(
        3,
        fc.constantFrom(...(options.identitiesFor?.(operation) ?? options.identities)),
        fc.constant('nobody'),
      ),
      method: seldom(20, fc.constant(operation.method), fc.constantFrom(...otherMethods)),
      path: fc.record(
        Object.fromEntries(
          ofPlace('path').map((parameter) => [
            parameter.name,
            seldom(9, textOf(parameter), oddText).map((text) => encode(text)),
          ]),
        ),
      ),
      query: fc.tuple(...ofPlace('query').map((parameter) => queryOf(parameter, textOf(parameter)))),
      more: seldom(14, fc.constant<string[]>([]), fc.array(oddQuery, { minLength: 1, maxLength: 3 })),
      spelling: seldom(
        14,
        fc.constant((target: string) => target),
        fc.constantFrom(...spellings),
      ),
      given: fc.tuple(...ofPlace('header').map((parameter) => headerOf(parameter, textOf(parameter)))),
      headers: seldom(4, fc.constant<Header[][]>([]), fc.array(oddHeaders, { minLength: 1, maxLength: 3 })),
      body: bodiesOf(operation, { ...options, known }),
    })
    .map(({ identity, method, path, query, more, spelling, given, headers, body }) => {
      const canonical = operation.path.replace(/\{(\w+)\}/g, (_, name: string) => path[name] ?? '')
      const pairs = [...query, ...more].filter((pair) => pair !== undefined)
      return {
        identity,
        method,
        target: spelling(pairs.length > 0 ? `${canonical}?${pairs.join('&')}` : canonical),
        headers: [...body.headers, ...given.filter((header) => header !== undefined), ...headers.flat()],
        body: body.bytes,
      }
    })
}

const otherMethods = [
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'OPTIONS',
  'TRACE',
  'CONNECT',
  'PROPFIND',
  'get',
  'A',
  'G\0T',
]

/** Percent-encodes what a path or a query cannot hold as it is; a half of a surrogate pair becomes U+FFFD, as in UTF-8. */
function encode(text: string): string {
  return encodeURIComponent(text.toWellFormed())
}

function queryOf({ name, required }: Parameter, values: fc.Arbitrary<string>): fc.Arbitrary<string | undefined> {
  const usual = fc.oneof(values, oddText).map((text) => `${name}=${encode(text)}`)
  return required ? usual : fc.option(usual, { nil: undefined })
}

const oddQuery = fc.oneof(
  fc.tuple(oddText, oddText).map(([name, value]) => `${encode(name)}=${encode(value)}`),
  fc.constantFrom(
    'limit=1&limit=2',
    'limit[]=1',
    'limit[a]=1',
    '__proto__[a]=1',
    'cursor',
    '=',
    '&&',
    '%',
    '%zz=%zz',
    'a=%00',
    '?',
  ),
  fc.constantFrom(50, 1000).map((count) => Array.from({ length: count }, (_, index) => `k${index}=`).join('&')),
)

function headerOf({ name, required }: Parameter, values: fc.Arbitrary<string>) {
  const odd = oddText.map((text): [string, string] => [name, Buffer.from(text).toString('latin1')])
  const usual = values.map((text): [string, string] => [name, Buffer.from(text).toString('latin1')])
  const present = seldom(6, usual, odd)
  return seldom(required ? 12 : 3, present, fc.constant(undefined))
}

/** Other ways to write a path, and what is none. */
const spellings: ((target: string) => string)[] = [
  (target) => target.toUpperCase(),
  (target) => `${target}/`,
  (target) => target.replace(/(\?|$)/, '/$1'),
  (target) => `/${target}`,
  (target) => `/.${target}`,
  (target) => `/x/..${target}`,
  (target) => target.replace(/\/(\w)/, (_, letter: string) => `/%${letter.charCodeAt(0).toString(16)}`),
  (target) => target.replace(/\//g, '%2f'),
  (target) => `${target};a=b`,
  (target) => `${target}%00`,
  (target) => `${target}%0d%0ax: y`,
  (target) => `${target}#fragment`,
  (target) => target.replace(/\//g, '\\'),
  (target) => `http://other.example${target}`,
  (target) => target.slice(1),
  (target) => `${target}\xff\xfe`,
  (target) => `${target} HTTP/1.1\r\nx`,
  (target) => `${target}?${'a'.repeat(5000)}`,
  (target) => `${target}/${'a'.repeat(7000)}`,
  (target) => `${target}/${'a'.repeat(40_000)}`,
  () => '*',
  () => '/',
  () => '//',
  () => '/docs?x=1',
  () => `/docs?${'a'.repeat(5000)}`,
  () => '/docs/..%2f..%2fpackage.json',
  () => '/metrics',
  () => '/v1/openapi.json',
]
