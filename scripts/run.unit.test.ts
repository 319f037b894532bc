import { spawnSync } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { run } from '@escala/servers/processes'
import { afterAll, beforeAll, expect, test } from 'vitest'

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

test('variables come from the shell, then from what runs from the checkout, then from its .env', async () => {
  const checkout = await mkdtemp(join(folder, 'checkout-'))
  const root = join(import.meta.dirname, '..')
  for (const name of ['scripts', '.escala']) await mkdir(join(checkout, name))
  await symlink(join(root, 'node_modules'), join(checkout, 'node_modules'))
  await copyFile(join(root, 'package-lock.json'), join(checkout, 'package-lock.json'))
  await copyFile(entry, join(checkout, 'scripts/run.mjs'))
  await writeFile(
    join(checkout, '.env'),
    "ONLY_FILE='a b'\nSHELL_TOO=file\nDATABASE_URL=postgres://file\nINTERNAL_URL=http://file\n",
  )
  const file = await script('console.log(JSON.stringify(process.env))')
  const running = (pid: number) =>
    writeFile(
      join(checkout, '.escala/running.json'),
      JSON.stringify({
        pid,
        env: { DATABASE_URL: 'postgres://running', REDIS_URL: 'redis://running', API_PORT: '3005' },
      }),
    )
  const seen = async (mode: string[], shell: Record<string, string> = {}) => {
    const env = { PATH: process.env.PATH, SHELL_TOO: 'shell', ...shell }
    const { output } = await run(process.execPath, [join(checkout, 'scripts/run.mjs'), ...mode, file], { env })
    return JSON.parse(output)
  }
  await running(process.pid)
  const fromFile = { ONLY_FILE: 'a b', SHELL_TOO: 'shell', DATABASE_URL: 'postgres://file' }
  expect(await seen(['--env'])).toMatchObject(fromFile)
  expect(await seen(['--local'])).toMatchObject({
    ...fromFile,
    DATABASE_URL: 'postgres://running',
    REDIS_URL: 'redis://running',
    INTERNAL_URL: 'http://127.0.0.1:4005',
  })
  expect(await seen(['--local'], { DATABASE_URL: 'postgres://shell' })).toMatchObject({
    DATABASE_URL: 'postgres://shell',
    INTERNAL_URL: 'http://file',
  })
  expect(await seen([])).not.toHaveProperty('ONLY_FILE')
  const { pid: ended } = spawnSync('true')
  await running(ended)
  expect(await seen(['--local'])).toMatchObject(fromFile)
})

test('npm run scale:check asks no process where nothing runs', async () => {
  const checkout = await mkdtemp(join(folder, 'nothing-'))
  const { code, output } = await run(
    process.execPath,
    [entry, '--local', join(import.meta.dirname, 'scale-check.ts')],
    { env: { PATH: process.env.PATH, ESCALA_FOLDER: checkout } },
  )
  expect(output).toContain('Nothing runs from this checkout')
  expect(code).toBe(1)
})
