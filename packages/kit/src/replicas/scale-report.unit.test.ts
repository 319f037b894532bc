import { expect, test } from 'vitest'
import { connectionShare } from './admission.ts'
import type { ReplicaRow } from './replica.ts'
import { createScaleReport } from './scale-report.ts'

const limits = connectionShare({ allows: 97, allowedBy: 'server' }, 0, 8)
const row = (id: string, changes: Partial<ReplicaRow> = {}): ReplicaRow => ({
  id,
  incarnation: id,
  role: 'api',
  version: '1',
  scopes: { sessions: 'cluster' },
  secretFingerprints: ['secret-fingerprint'],
  schedules: [],
  startedAt: new Date(0),
  heartbeatAt: new Date(0),
  clockOffsetMs: 1,
  poolSize: limits.perProcess,
  admitted: true,
  ...changes,
})
const worker = row('w', { role: 'worker', scopes: {}, secretFingerprints: [], schedules: ['nightly'] })
const report = (...rows: ReplicaRow[]) => createScaleReport({ self: 'one', rows, open: 9, limits })
const verdicts = (...rows: ReplicaRow[]) =>
  Object.fromEntries(
    report(...rows).checks.flatMap(({ name, verdict }) => (verdict === 'pass' ? [] : [[name, verdict]])),
  )

test('a healthy cluster passes every check', () => {
  expect(verdicts(row('one'), row('two'), worker)).toEqual({})
})

test('says the connection arithmetic, and nothing of the secrets', () => {
  const answer = report(row('one'), row('two'), worker)
  expect(answer.connections).toEqual({
    serverAllows: 97,
    allowedBy: 'server',
    reserve: 5,
    budget: 92,
    maxProcesses: 8,
    perProcess: 11,
    granted: 33,
    open: 9,
  })
  expect(JSON.stringify(answer)).not.toContain('secret-fingerprint')
})

test.each<[string, ReplicaRow[], Record<string, string>]>([
  [
    'one replica with state in its process',
    [row('one', { scopes: { sessions: 'process' } }), worker],
    { state: 'warn' },
  ],
  ['two with it', [row('one', { scopes: { sessions: 'process' } }), row('two'), worker], { state: 'fail' }],
  ['no secret in common', [row('one'), row('two', { secretFingerprints: ['x'] }), worker], { secrets: 'fail' }],
  [
    'a rotation',
    [row('one'), row('two', { secretFingerprints: ['x', 'secret-fingerprint'] }), worker],
    { secrets: 'warn' },
  ],
  ['more granted than there is', [row('one', { poolSize: 93 }), worker], { connections: 'fail', shares: 'fail' }],
  [
    'one that waits for a place',
    [row('one'), row('two', { admitted: false, poolSize: 0 }), worker],
    { places: 'fail' },
  ],
  ['a clock that is off', [row('one', { clockOffsetMs: -300_000 }), worker], { clocks: 'fail' }],
  ['two versions', [row('one'), row('two', { version: '2' }), worker], { versions: 'warn' }],
  ['no worker', [row('one')], { schedules: 'warn' }],
  ['one id twice', [row('one'), row('one', { incarnation: 'b' }), worker], { ids: 'warn' }],
])('%s', (_name, rows, expected) => {
  expect(verdicts(...rows)).toEqual(expected)
})
