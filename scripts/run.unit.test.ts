import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { run } from '../infra/local/processes.ts'

let folder: string
const entry = join(import.meta.dirname, 'run.mjs')
const script = async (text: string) => {
  const file = join(folder, 'script.ts')
  await writeFile(file, text)
  return file
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'escala-run-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

test('runs TypeScript on Node 24 whatever the Node that began, with its arguments and its exit code', async () => {
  const file = await script(
    'console.log(process.versions.node, process.argv.slice(2).join()); process.exitCode = 7 as number',
  )
  const { code, output } = await run(process.execPath, [entry, file, 'a b', '--c'])
  expect(output).toMatch(/^24\.\d+\.\d+ a b,--c\n$/)
  expect(code).toBe(7)
})

test('hands a signal on', async () => {
  const file = await script(
    "process.on('SIGTERM', () => process.exit(9)); setInterval(() => {}, 1000); process.kill(process.ppid, 'SIGTERM')",
  )
  expect((await run(process.execPath, [entry, file])).code).toBe(9)
})

test('names a tool that is not there', async () => {
  const { code, output } = await run(process.execPath, [entry, 'no-such-tool'])
  expect(output).toContain('there is no no-such-tool')
  expect(code).toBe(1)
})
