import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { afterAll, expect, inject, test } from 'vitest'
import { copyCheckout } from './copy-checkout.ts'

// "Your first module", followed step by step in a copy of the checkout.
const here = join(import.meta.dirname, '..')
const copy = copyCheckout(here)
afterAll(() => copy[Symbol.dispose]())
const guide = readFileSync(join(here, 'docs/guides/first-module.md'), 'utf8')
const steps = guide.split(/^## (?=\d+\. )/m).slice(1)

const bin = (name: string) => join(copy.root, 'node_modules/.bin', name)
function run(command: string, ...args: string[]): void {
  const env = { PATH: `${bin('.')}:${process.env.PATH}`, HOME: process.env.HOME, LABS: 'local' }
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd: copy.root,
    encoding: 'utf8',
    timeout: 120_000,
    env,
  })
  expect(status, `${[command, ...args].join(' ')}\n${stdout}${stderr}`).toBe(0)
}

/** Does what the commands of a page do. One that is not known here fails: no reader may get further than this test. */
function follow(line: string): void {
  const [, name] = /^npm run new:module -- (\w+)$/.exec(line) ?? []
  const [, file] = /^rm (packages\/[\w./-]+)$/.exec(line) ?? []
  const [, tested] = /^npm test -- ([\w./-]+)$/.exec(line) ?? []
  if (name) run(bin('node'), 'scripts/new-module.ts', name)
  else if (file) rmSync(join(copy.root, file))
  else if (tested) run(bin('vitest'), 'run', tested)
  else throw new Error(`this test cannot follow: ${line}`)
}

interface Block {
  language: string
  /** Where it belongs; empty for a block that is only shown. */
  file: string
  code: string
}

const blocks = (text: string): Block[] =>
  [...text.matchAll(/^```(\w+) ?(\S*)\n([\s\S]*?)^```$/gm)].map(([, language = '', file = '', code = '']) => ({
    language,
    file,
    code,
  }))

function write(text: string): void {
  for (const { file, code } of blocks(text)) {
    if (!file.startsWith('packages/links/')) continue // other pages' own modules: `check-guides.ts` compiles those
    mkdirSync(dirname(join(copy.root, file)), { recursive: true })
    writeFileSync(join(copy.root, file), code)
  }
}

/** Compiles the module alone: everything, for each step, would take a minute. */
function compile(): void {
  const config = { extends: './tsconfig.json', include: ['packages/links', 'packages/testing/src/test-servers.ts'] }
  writeFileSync(join(copy.root, 'tsconfig.guide.json'), JSON.stringify(config))
  run(bin('tsc'), '-p', 'tsconfig.guide.json')
  rmSync(join(copy.root, 'tsconfig.guide.json'))
}

test('it has ten steps', () => {
  expect(steps.map((step) => Number.parseInt(step, 10))).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
})

test.for(steps.map((step) => ({ title: step.split('\n')[0] as string, step })))('$title', ({ step }, { skip }) => {
  skip(inject('driver') === 'docker', 'It runs a copy of the checkout, which the image does not have.')
  const commands = blocks(step).flatMap(({ language, code }) => (language === 'sh' ? code.trim().split('\n') : []))
  const tests = commands.filter((command) => command.startsWith('npm test'))
  for (const command of commands) if (!tests.includes(command)) follow(command)
  write(step)
  compile()
  if (tests.length > 0) run(bin('biome'), 'check', 'packages/links') // formatted, and within the rules of a module
  for (const command of tests) follow(command)
})

test('the code of the other guides compiles in that module', ({ skip }) => {
  skip(inject('driver') === 'docker', 'It runs a copy of the checkout, which the image does not have.')
  for (const page of readdirSync(join(here, 'docs/guides'))) {
    if (page === 'first-module.md') continue
    write(readFileSync(join(here, 'docs/guides', page), 'utf8'))
  }
  compile()
})
