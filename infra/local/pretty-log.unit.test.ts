import { stripVTControlCharacters } from 'node:util'
import { expect, test } from 'vitest'
import { prettyLine } from './pretty-log.ts'

const pretty = (line: string) => stripVTControlCharacters(prettyLine('api', line))

test('a record becomes one line with its own fields, and an error keeps its stack', () => {
  const time = Date.UTC(2026, 0, 1)
  const record = {
    level: 40,
    time,
    msg: 'slow',
    service: 'api',
    replicaId: 'r',
    version: '1',
    ms: 12,
    err: { stack: 'Error: x\n  at y' },
  }
  expect(pretty(JSON.stringify(record))).toMatch(/^\d\d:\d\d:\d\d api {4}WARN {2}slow ms=12\nError: x\n {2}at y$/)
})

test('any other line stays as it is', () => {
  expect(pretty('Restarting main.ts')).toBe('api    Restarting main.ts')
  expect(pretty('{broken')).toBe('api    {broken')
})
