import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, inject, test } from 'vitest'
import { copyCheckout } from './copy-checkout.ts'

const copy = copyCheckout(join(import.meta.dirname, '..'))
afterAll(() => copy[Symbol.dispose]())

const node = join(copy.root, 'node_modules/.bin/node')
const run = (...args: string[]) => {
  const { status, stdout, stderr } = spawnSync(node, args, {
    cwd: copy.root,
    encoding: 'utf8',
    timeout: 150_000,
    env: { PATH: `${join(copy.root, 'node_modules/.bin')}:${process.env.PATH}`, HOME: process.env.HOME, LABS: 'local' },
  })
  return { status, stdout, stderr }
}
const newModule = (...args: string[]) => run('scripts/new-module.ts', ...args)
const read = (path: string) => readFileSync(join(copy.root, path), 'utf8')
const state = () => [
  readdirSync(join(copy.root, 'packages')),
  readdirSync(join(copy.root, 'node_modules/@escala')),
  read('apps/modules.ts'),
  read('package-lock.json'),
]

test('--dry-run lists the files and writes none', () => {
  const before = state()
  const { status, stdout } = newModule('notes', '--dry-run')
  expect(status).toBe(0)
  expect(stdout).toContain('would write packages/notes/src/migrations/0001_items.sql\n')
  expect(stdout).toContain('would change apps/modules.ts\n')
  expect(state()).toEqual(before)
})

test.each([
  ['Notes', 'not one word'],
  ['../notes', 'not one word'],
  ['n', 'not one word'],
  ['class', 'a word of JavaScript'],
  ['kit', 'packages/kit exists'],
  ['api', '@escala/api exists'],
  ['flags', '/v1/flags is a route'],
])('the name %s is refused: %s', (name, reason) => {
  const before = state()
  const { status, stderr } = newModule(name)
  expect(status).toBe(1)
  expect(stderr).toContain(reason)
  expect(state()).toEqual(before)
})

test('no name, and two, get the usage', () => {
  for (const names of [[], ['one', 'two']]) expect(newModule(...names).stderr).toContain('usage: npm run new:module')
})

test('a new module passes every check, and its test is green on three replicas', ({ skip }) => {
  skip(inject('driver') === 'docker', 'It runs a copy of the checkout, which the image does not have.')
  const { status, stdout } = newModule('notes')
  expect(status).toBe(0)
  expect(stdout).toMatch(/Next:\n {2}npm test -- packages\/notes .*\n {2}npm start .*\n$/)
  expect(read('apps/modules.ts')).toContain("\n  (await import('@escala/notes/module')).notes,\n]\n")
  expect(newModule('notes').stderr).toContain('packages/notes exists')
  expect(existsSync(join(copy.root, 'node_modules/@escala/notes/src/module.ts'))).toBe(true)

  const check = run('scripts/check.ts')
  expect(check.status, check.stdout + check.stderr).toBe(0)
  const tests = run('node_modules/.bin/vitest', 'run', 'packages/notes', 'scripts/workspaces')
  expect(tests.status, tests.stdout + tests.stderr).toBe(0)
  expect(tests.stdout).toMatch(/notes\.cluster\.test\.ts.*3 tests/)
})
