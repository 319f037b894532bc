import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Finding, findInCode, findInPage } from './words.ts'

/** Holds pages, comments and messages to plain English. Prints every finding; exits with 1 if there is one. */
const root = join(import.meta.dirname, '..')

// The list itself, and pages that quote what was.
const exempt = ['CHANGELOG.md', 'scripts/words.ts', 'scripts/words.unit.test.ts']

const paths = globSync('**/*.{md,ts,mjs,cjs}', {
  cwd: root,
  exclude: (name) => name.includes('node_modules') || name.startsWith('.'),
})
let found = 0

for (const path of paths.sort()) if (!exempt.includes(path)) report(path, findingsIn(path))
console.log(`words: ${found} to replace`)
process.exitCode = found > 0 ? 1 : 0

function findingsIn(path: string): Finding[] {
  const text = readFileSync(join(root, path), 'utf8')
  return path.endsWith('.md') ? findInPage(text) : findInCode(text)
}

function report(path: string, findings: Finding[]): void {
  found += findings.length
  for (const { line, rule, text } of findings) {
    console.error(`${path}:${line}: "${rule.name}": ${rule.instead}\n  ${text}`)
  }
}
