import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { checkWithoutSample } from './sample/check.ts'
import { deleteSample } from './sample/delete.ts'

const usage = `npm run sample:delete                       removes the ticket shop from this checkout
npm run sample:delete -- --force            the same, although something is not committed
npm run sample:delete -- --check            removes it from a copy instead, and runs the quick checks there
npm run sample:delete -- --check --full     runs everything there: checks, all tests with the labs, the start (about 20 minutes)`
const here = join(import.meta.dirname, '..')

function isClean(root: string): boolean {
  const { status, stdout } = spawnSync('git', ['status', '--porcelain'], { cwd: root, encoding: 'utf8' })
  return status === 0 && stdout === ''
}

const flag = { type: 'boolean', default: false } as const
function readFlags() {
  try {
    const { values } = parseArgs({ options: { check: flag, full: flag, force: flag, help: flag } })
    if (values.full && !values.check) throw new Error('--full goes with --check')
    return values
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${usage}`)
    process.exit(2)
  }
}

const { check, full, force, help } = readFlags()
if (help) console.log(usage)
else if (check) process.exitCode = (await checkWithoutSample(here, { isFull: full })) ? 0 : 1
else if (!force && !isClean(here)) {
  console.error('There are uncommitted changes. Commit them first, so that you can go back, or add: -- --force')
  process.exitCode = 1
} else {
  deleteSample(here)
  console.log(
    '\nThe ticket shop is gone. What is left: accounts, log-in, the kit. Next: npm run check, npm test, npm start -- --fresh',
  )
}
