import fc from 'fast-check'
import { oddText } from './odd-values.ts'

export type Header = [name: string, value: string]

/** Values that each header is known for; any other text is tried with every one of them. */
const known: Record<string, string[]> = {
  Accept: ['text/html', '*/*;q=0', 'application/xml', 'a'],
  'Accept-Encoding': ['gzip', 'br;q=1, *;q=0', 'identity;q=0'],
  Authorization: ['Bearer x', 'Basic OjpA', 'Bearer'],
  'Cache-Control': ['no-cache', 'only-if-cached'],
  Connection: ['keep-alive', 'close, x-request-id', 'upgrade'],
  'Content-Length': ['0', '-1', '1e3', '99999999999999999999', '5, 5'],
  'Content-Type': ['text/plain', 'application/json; charset=utf-16', 'application/json;;', 'multipart/form-data', ''],
  Cookie: ['sid=', 'sid=\xa0x', 'sid=s%3Ax.y', 'sid=a; sid=b', '=;;=', 'sid="x"', '__proto__=1'],
  Expect: ['100-continue', '200-ok'],
  Forwarded: ['for=127.0.0.1;host=evil.example'],
  Host: ['', 'evil.example', 'a b', '[::1', 'localhost:99999'],
  'Idempotency-Key': ['""', '"a', '*', 'a b'],
  'If-Match': ['*', '"1"', 'W/"1"', '"99999999999"', '"1", "2"', '1'],
  'If-Modified-Since': ['Thu, 01 Jan 1970 00:00:00 GMT', 'x'],
  'If-None-Match': ['*', 'W/"x"', '"'],
  'Last-Event-ID': ['0', '0-0', '1-1', '99999999999999-0', '0:0-0', 'null'],
  Origin: ['null', 'https://evil.example'],
  Range: ['bytes=0-0', 'bytes=-1', 'bytes=5-1', 'bytes=0-,5-', 'lines=1-2'],
  'Sec-Fetch-Site': ['cross-site', 'same-origin'],
  TE: ['trailers', 'chunked'],
  traceparent: ['00-00000000000000000000000000000000-0000000000000000-00', '00'],
  'Transfer-Encoding': ['identity', 'gzip, chunked', 'chunked, chunked'],
  Upgrade: ['websocket', 'h2c'],
  'User-Agent': [''],
  'X-Forwarded-For': ['127.0.0.1:80', '::1, 10.0.0.1', 'x'],
  'X-Forwarded-Proto': ['https', 'ftp'],
  'X-HTTP-Method-Override': ['DELETE'],
  'X-Request-Id': ['a', 'aaaaaaaa\xffa'],
}

const one = fc.constantFrom(...Object.entries(known)).chain(
  ([name, values]): fc.Arbitrary<Header[]> =>
    fc
      .oneof({ weight: 2, arbitrary: fc.constantFrom(...values) }, { weight: 1, arbitrary: oddText })
      // As bytes: a header has no encoding of its own.
      .map((value) => [[name, /^[\x20-\xff]*$/.test(value) ? value : Buffer.from(value).toString('latin1')]]),
)

/** One header that is odd, or a head with too much in it. */
export const oddHeaders: fc.Arbitrary<Header[]> = fc.oneof(
  { weight: 20, arbitrary: one },
  {
    weight: 1,
    arbitrary: fc.constantFrom(3000, 7900, 9000, 40_000).map((size): Header[] => [['X-Long', 'a'.repeat(size)]]),
  },
  { weight: 1, arbitrary: fc.constantFrom(3000, 7900).map((size): Header[] => [['Cookie', `a=${'b'.repeat(size)}`]]) },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom(90, 150, 400)
      .map((count) => Array.from({ length: count }, (_, n): Header => [`X-${n}`, 'a'])),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Header[]>(
      [['', 'x']],
      [['a b', 'x']],
      [['X-Folded', 'a\r\n b']],
      [['X\0', 'a']],
      [['__proto__', 'a']],
    ),
  },
)
