import { join } from 'node:path'
import { expect, test } from 'vitest'
import { UsageError } from '../program.ts'
import { readOptions } from './options.ts'

const names = ['read', 'jobs', 'idle']
const root = join(import.meta.dirname, '../..')

test('without a name every measure runs, otherwise those that are named, in their own order', () => {
  expect(readOptions([], names)).toMatchObject({ chosen: names, quick: false, beside: undefined, json: undefined })
  expect(readOptions(['jobs', 'read', '--quick'], names)).toMatchObject({ chosen: ['read', 'jobs'], quick: true })
})

test('paths start where the bench was called', () => {
  expect(readOptions(['--json', 'a.json', '--beside', '.'], names, root)).toMatchObject({
    json: join(root, 'a.json'),
    beside: root,
  })
})

test.each([
  ['an unknown option', ['--fast']],
  ['an unknown measure', ['write']],
  ['an option without its value', ['--json']],
  ['a folder that is no checkout', ['--beside', '/nowhere']],
])('%s is reported as wrong usage', (_, args) => {
  expect(() => readOptions(args, names)).toThrow(UsageError)
})
