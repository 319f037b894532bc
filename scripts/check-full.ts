import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { failUsage, readCommandLine } from '../infra/local/command-line.ts'
import { createLifetime } from '../infra/local/lifetime.ts'

const root = join(import.meta.dirname, '..')
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> }
const steps: Record<string, string[]> = {
  check: ['check'],
  test: ['test'],
  'pack:check': ['pack:check', '--', '--managers'],
  'smoke:start': ['smoke:start'],
  growth: ['growth'],
  fuzz: ['fuzz', '--', '--requests', '20000'],
  'sample:delete': ['sample:delete', '--', '--check', '--full'],
  'upgrade:check': ['upgrade:check'],
  mutants: ['mutants'],
  endurance: ['endurance', '--', '--minutes', '10'],
}

const usage = `usage: npm run check:full [-- STEP …]

Runs everything that takes too long for each change, all of it even when one step fails. Steps, by default all:
  ${Object.keys(steps).join(', ')}`
const wanted = readCommandLine(usage, {}, 100).positionals
const unknown = wanted.filter((name) => !(name in steps))
if (unknown.length > 0) failUsage(usage, `unknown step: ${unknown.join(', ')}`)
const lifetime = createLifetime()

/** Runs one step to its end, which a Ctrl-C brings forward: it stops whatever it has started. */
async function run(script: string, args: string[]): Promise<string> {
  if (lifetime.ended.aborted) return 'not run'
  if (!(script in scripts)) return 'skipped: it went with the sample'
  console.log(`\n== npm run ${[script, ...args].join(' ')}`)
  const began = Date.now()
  // A separate process group, so that ending this program ends the step once, and in one way.
  const child = spawn('npm', ['run', script, ...args], { cwd: root, stdio: 'inherit', detached: true })
  const end = () => process.kill(-(child.pid as number), 'SIGINT')
  lifetime.ended.addEventListener('abort', end)
  const [code] = (await once(child, 'close')) as [number | null]
  lifetime.ended.removeEventListener('abort', end)
  const took = `after ${Math.round((Date.now() - began) / 1000)} s`
  if (lifetime.ended.aborted) return `stopped ${took}`
  return `${code === 0 ? 'passed' : 'FAILED'} ${took}`
}

const verdicts: [string, string][] = []
for (const [name, [script = '', ...args]] of Object.entries(steps)) {
  if (wanted.length === 0 || wanted.includes(name)) verdicts.push([name, await run(script, args)])
}
console.log(`\n${verdicts.map(([name, verdict]) => `${name}: ${verdict}`).join('\n')}`)
const failed = verdicts.some(([, verdict]) => verdict.startsWith('FAILED'))
process.exit(lifetime.ended.aborted ? 130 : failed ? 1 : 0)
