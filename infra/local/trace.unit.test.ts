import { expect, test } from 'vitest'
import { parseLine, prettyTrace, type TraceLine, traceOf } from './trace.ts'

const line = (time: string, fields: object) => JSON.stringify({ time: `2030-01-01T00:00:${time}Z`, ...fields })
const lines = [
  line('03.000', { replicaId: 'worker-1', requestId: 'request-1', orderId: 'order-1', msg: 'order charged' }),
  line('02.500', { replicaId: 'worker-1', requestId: 'request-1', statement: 'things-charging', msg: 'query' }),
  `api-1  | ${line('01.000', { replicaId: 'api-1', requestId: 'request-1', path: '/v1/things/1', msg: 'request' })}`,
  line('04.000', { replicaId: 'api-2', requestId: 'request-2', path: '/v1/things/order-1', msg: 'request' }),
  line('04.100', { replicaId: 'api-2', requestId: 'request-3', path: '/v1/things/order-2', msg: 'request' }),
  line('00.500', { replicaId: 'api-2', msg: 'ready' }),
  'not a line of ours { at all',
  '',
]
  .map(parseLine)
  .filter((parsed): parsed is TraceLine => parsed !== undefined)
const times = (found: TraceLine[]) => found.map(({ record }) => String(record.time).slice(17, 23))

test('an order is found with its request, its jobs and its queries, and in order of time', () => {
  expect(times(traceOf(lines, 'order-1'))).toEqual(['01.000', '02.500', '03.000', '04.000'])
})

test('a request is found with its jobs, and nothing else is', () => {
  expect(times(traceOf(lines, 'request-1'))).toEqual(['01.000', '02.500', '03.000'])
  expect(traceOf(lines, 'request-9')).toEqual([])
})

test('a line for a person says when, who and what', () => {
  const [first] = traceOf(lines, 'request-1').map(prettyTrace)
  expect(first).toMatch(
    /^2030-01-01T00:00:01.000Z {2}api-1 +info +request {2}path=\/v1\/things\/1 {2}requestId=request-1$/,
  )
})
