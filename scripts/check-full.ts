import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

// `npm run check:full [-- STEP …]`: everything that takes too long for each change, all of it even when one part fails.
const root = join(import.meta.dirname, '..')
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> }
const steps: Record<string, string[]> = {
  check: ['check'],
  test: ['test'],
  fuzz: ['fuzz', '--', '--requests', '20000'],
  'sample:delete': ['sample:delete', '--', '--check', '--full'],
  mutants: ['mutants'],
  endurance: ['endurance', '--', '--minutes', '10'],
}

const wanted = process.argv.slice(2)
const unknown = wanted.filter((name) => !(name in steps))
if (unknown.length > 0) {
  console.error(`There is no step ${unknown.join(', ')}. The steps: ${Object.keys(steps).join(', ')}`)
  process.exit(2)
}
const results = Object.entries(steps)
  .filter(([name]) => wanted.length === 0 || wanted.includes(name))
  .map(([name, [script = '', ...args]]) => {
    if (!(script in scripts)) return { name, verdict: 'skipped: it went with the sample' }
    console.log(`\n== npm run ${[script, ...args].join(' ')}`)
    const { status } = spawnSync('npm', ['run', script, ...args], { cwd: root, stdio: 'inherit' })
    return { name, verdict: status === 0 ? 'passed' : 'FAILED' }
  })
console.log(`\n${results.map(({ name, verdict }) => `${name}: ${verdict}`).join('\n')}`)
process.exit(results.every(({ verdict }) => verdict !== 'FAILED') ? 0 : 1)
