import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { readCommandLine } from '../infra/local/command-line.ts'

const usage = `usage: npm run check

Runs every check that needs no servers, all of them even when one fails: format, lint and import rules, types, unused code,
pages against code, plain English.`

readCommandLine(usage, {})
const root = join(import.meta.dirname, '..')
const tool = (name: string) => join(root, 'node_modules', '.bin', name)
const steps: [string, string[]][] = [
  ['format (npm run format fixes it)', [tool('biome'), 'check', '--linter-enabled=false', '--reporter=summary', '.']],
  ['lint and import rules', [tool('biome'), 'lint', '.']],
  ['types', [tool('tsc'), '-p', '.']],
  ['unused files, exports and dependencies', [tool('knip')]],
  ['pages against code', [process.execPath, join(root, 'scripts/check-docs.ts')]],
  ['what the guides show', [process.execPath, join(root, 'scripts/check-guides.ts')]],
  ['plain English', [process.execPath, join(root, 'scripts/check-words.ts')]],
]

const failed = steps.filter(([title, [command = '', ...args]]) => {
  console.log(`== ${title}`)
  return spawnSync(command, args, { cwd: root, stdio: 'inherit' }).status !== 0
})
for (const [title] of failed) console.error(`FAILED: ${title}`)
process.exit(failed.length === 0 ? 0 : 1)
