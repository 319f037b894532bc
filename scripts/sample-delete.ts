import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { failUsage, readCommandLine } from '../infra/local/command-line.ts'
import { checkWithoutSample } from './sample/check.ts'
import { deleteSample } from './sample/delete.ts'

const usage = `usage: npm run sample:delete [-- OPTIONS]

Removes the ticket shop from this checkout: its module, labs, pages and packages. What stays is accounts, log-in and the kit.
  --force          also if there are uncommitted changes
  --check          removes it from a copy instead, and runs the quick checks there (about two minutes)
  --check --full   runs everything there: checks, all tests with the labs, the smoke test of the start (about 20 minutes)`
const here = join(import.meta.dirname, '..')

function isClean(root: string): boolean {
  const { status, stdout } = spawnSync('git', ['status', '--porcelain'], { cwd: root, encoding: 'utf8' })
  return status === 0 && stdout === ''
}

const flag = { type: 'boolean', default: false } as const
const { check, full, force } = readCommandLine(usage, { check: flag, full: flag, force: flag }).values
if (full && !check) failUsage(usage, '--full goes with --check')
if (check) process.exitCode = (await checkWithoutSample(here, { isFull: full })) ? 0 : 1
else if (!force && !isClean(here)) {
  console.error('There are uncommitted changes. Commit them first, so that you can go back, or add: -- --force')
  process.exitCode = 1
} else {
  deleteSample(here)
  console.log(
    '\nThe ticket shop is gone. What is left: accounts, log-in, the kit. Next: npm run check, npm test, npm start -- --fresh',
  )
}
