import { appendFileSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { until } from '@escala/servers/waiting'
import { afterAll, expect, test } from 'vitest'
import { rotate, startRotation } from './rotation.ts'

const folder = mkdtempSync(join(tmpdir(), 'escala-rotation-'))
afterAll(() => rmSync(folder, { recursive: true }))

test('a log that another program holds open never exceeds its bound for long, and keeps so many older files', () => {
  const file = join(folder, 'one.log')
  const held = openSync(file, 'a')
  for (let n = 0; n < 6; n++) {
    writeSync(held, `${n}`.repeat(20))
    rotate(file, 10, 3)
    expect(statSync(file).size).toBe(0)
  }
  writeSync(held, 'after')
  rotate(file, 10, 3)
  const contents = (name: string) => readFileSync(join(folder, name), 'utf8')
  expect(readdirSync(folder).sort()).toEqual(['one.log', 'one.log.1', 'one.log.2', 'one.log.3'])
  expect(contents('one.log')).toBe('after')
  expect(contents('one.log.1')).toBe('5'.repeat(20))
  expect(contents('one.log.3')).toBe('3'.repeat(20))
})

test('files are found as they appear', async () => {
  using _ = startRotation({ folders: [join(folder, 'nothing'), folder], maxBytes: 10, everyMs: 5 })
  appendFileSync(join(folder, 'two.log'), 'x'.repeat(11))
  await until(() => statSync(join(folder, 'two.log')).size === 0, 5000, 'it was not rotated')
})
