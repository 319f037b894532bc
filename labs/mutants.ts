import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { failUsage, readCommandLine } from '../infra/local/command-line.ts'
import { createLifetime } from '../infra/local/lifetime.ts'
import { copyCheckout } from '../scripts/copy-checkout.ts'
import type { Mutant } from './mutant.ts'
import { nearest } from './nearest.ts'

const usage = `usage: npm run mutants [-- SLUG …]

Removes each thing that a problem's page credits, one at a time, in a copy, and runs the tests that must then fail. Exits with
1 if one of them passes. SLUG: problems, by default all that have mutants.`

const root = join(import.meta.dirname, '..')
const lifetime = createLifetime()
const slugs = readdirSync(join(root, 'labs')).filter((slug) => existsSync(join(root, 'labs', slug, 'mutants.ts')))

interface Result extends Mutant {
  slug: string
  verdict: 'caught' | 'not caught' | 'does not apply' | 'did not run'
}

/** Runs the tests on the mutated copy. Uncaught errors fail the run as well; a run that cannot even start proves nothing. */
async function run(copy: string, slug: string, mutant: Mutant): Promise<Result> {
  const path = join(copy, mutant.file)
  const original = readFileSync(path, 'utf8')
  if (original.split(mutant.from).length !== 2) return { ...mutant, slug, verdict: 'does not apply' }
  writeFileSync(
    path,
    original.replace(mutant.from, () => mutant.to),
  )
  const report = join(copy, 'report.json')
  try {
    rmSync(report, { force: true })
    // For a lab, the half that contains what is removed.
    const tests = mutant.tests ?? [`labs/${slug}/`, '--testNamePattern', '^fix']
    const options = ['run', '--reporter', 'json', '--outputFile', report, ...tests]
    const child = spawn(join(root, 'node_modules/.bin/vitest'), options, {
      cwd: copy,
      env: { ...process.env, LABS: 'local' },
      stdio: 'ignore',
      signal: lifetime.ended,
    })
    child.on('error', () => undefined) // caused by the signal, or a program that cannot be started; `close` follows
    // Not `once` of node:events, which would reject with that error.
    const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
    if (!existsSync(report)) return { ...mutant, slug, verdict: 'did not run' }
    const { numFailedTests, numPassedTests } = JSON.parse(readFileSync(report, 'utf8'))
    const ran = numFailedTests + numPassedTests > 0
    return { ...mutant, slug, verdict: !ran ? 'did not run' : code !== 0 ? 'caught' : 'not caught' }
  } finally {
    writeFileSync(path, original)
  }
}

async function main(wanted: string[]): Promise<number> {
  const unknown = wanted.find((slug) => !slugs.includes(slug))
  if (unknown !== undefined) {
    failUsage(usage, `No problem called ${unknown} has mutants. Did you mean ${nearest(unknown, slugs)}?`)
  }
  using copy = copyCheckout(root)
  const results: Result[] = []
  for (const slug of wanted.length > 0 ? wanted : slugs) {
    const { mutants } = (await import(new URL(`${slug}/mutants.ts`, import.meta.url).href)) as { mutants: Mutant[] }
    for (const mutant of mutants) {
      const startedAt = performance.now()
      const result = await run(copy.root, slug, mutant)
      if (lifetime.ended.aborted) return 130
      results.push(result)
      const seconds = ((performance.now() - startedAt) / 1000).toFixed(0)
      console.log(`${result.verdict.padEnd(14)}  ${slug}: without ${mutant.removed} (${seconds} s)`)
    }
  }
  const caught = results.filter(({ verdict }) => verdict === 'caught').length
  console.log(`\n${caught} of ${results.length} were caught by a test.`)
  for (const { verdict, slug, file } of results) {
    if (verdict !== 'caught') console.log(`${verdict}: ${slug}, in ${file}`)
  }
  return caught === results.length ? 0 : 1
}

process.exitCode = await main(readCommandLine(usage, {}, 100).positionals)
