import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test, vi } from 'vitest'
import { readCommandLine } from './command-line.ts'

const root = join(import.meta.dirname, '../..')
const { argv } = process
afterEach(() => {
  process.argv = argv
  vi.restoreAllMocks()
})

function read(...args: string[]) {
  const out = vi.spyOn(console, 'log').mockReturnValue()
  const err = vi.spyOn(console, 'error').mockReturnValue()
  const exit = vi.spyOn(process, 'exit').mockImplementation((code) => {
    throw new Error(`exit ${code}`)
  })
  process.argv = ['node', 'file', ...args]
  try {
    const { values, positionals } = readCommandLine('usage: x', { count: { type: 'string' } }, 1)
    return { values: { ...values }, positionals }
  } catch {
    return { code: exit.mock.calls.at(-1)?.[0], out: out.mock.calls.flat(), err: err.mock.calls.flat() }
  }
}

test('reads what it knows', () => {
  expect(read('one', '--count', '3')).toEqual({ values: { count: '3' }, positionals: ['one'] })
})

test.each(['--help', '-h'])('%s prints the usage', (option) => {
  expect(read(option)).toMatchObject({ code: 0, out: ['usage: x'], err: [] })
})

test.each([[['--nope']], [['--count']], [['one', 'two']]])('%j: the mistake, the usage, and exit code 2', (args) => {
  const { code, out, err } = read(...args)
  expect({ code, out }).toEqual({ code: 2, out: [] })
  expect(err).toEqual([expect.stringMatching(/^.{10,80}\n\nusage: x$/)])
})

const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> }
const programs = Object.entries(scripts).flatMap(([name, command]) => {
  const file = /\S+\.ts$/.exec(command)?.[0]
  return file === undefined ? [] : [{ name, file }]
})

test.each(programs)('npm run $name has a usage for --help and for wrong input', ({ name, file }) => {
  const text = readFileSync(join(root, file), 'utf8')
  expect(text).toMatch(/readCommandLine\(|readOptions\(|includes\('--help'\)/)
  const where = file === 'labs/bench/main.ts' ? readFileSync(join(root, 'labs/bench/options.ts'), 'utf8') : text
  expect(where).toContain(name === 'start' ? 'usage: npm start' : `usage: npm run ${name}`)
})
