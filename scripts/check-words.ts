import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Finding, findInCode, findInPage } from './words.ts'

/** Holds pages, comments and messages to plain English. Prints every finding in a page or a folder that is held; exits with 1 if there is one. */
const root = join(import.meta.dirname, '..')

// Folders whose comments and strings are held; of tests, only in the folders of the second list. Add one as soon as nothing is found in it.
const held = ['scripts/', 'infra/', 'apps/worker/', 'packages/testing/', 'packages/kit/', 'labs/', 'examples/']
const heldTests = ['scripts/', 'infra/', 'apps/worker/', 'packages/testing/', 'labs/', 'examples/']
const later = ['labs/bench/']

// The list itself, and pages that quote what was, or that are being rewritten.
const exempt = ['CHANGELOG.md', 'docs/performance.md', 'scripts/words.ts', 'scripts/words.unit.test.ts']

const paths = globSync('**/*.{md,ts,mjs,cjs}', {
  cwd: root,
  exclude: (name) => name.includes('node_modules') || name.startsWith('.'),
})
const open = new Map<string, number>()
let found = 0

for (const path of paths.sort()) {
  if (exempt.includes(path)) continue
  const isPage = path.endsWith('.md')
  const findings = findingsIn(path, isPage)
  if (isPage || isHeld(path)) report(path, findings)
  else if (findings.length > 0) {
    const folder = path.split('/').slice(0, 2).join('/')
    open.set(folder, (open.get(folder) ?? 0) + findings.length)
  }
}
const list = [...open].map(([folder, count]) => `${folder} ${count}`).join(', ')
console.log(`words: ${found} to replace${list === '' ? '' : `; not held yet: ${list}`}`)
process.exitCode = found > 0 ? 1 : 0

function isHeld(path: string): boolean {
  const isTest = /\.(?:test|contract)\.ts$/.test(path)
  const isIn = (prefix: string) => path.startsWith(prefix)
  return (isTest ? heldTests : held).some(isIn) && !later.some(isIn)
}

function findingsIn(path: string, isPage: boolean): Finding[] {
  const text = readFileSync(join(root, path), 'utf8')
  return isPage ? findInPage(text) : findInCode(text)
}

function report(path: string, findings: Finding[]): void {
  found += findings.length
  for (const { line, rule, text } of findings) {
    console.error(`${path}:${line}: "${rule.name}": ${rule.instead}\n  ${text}`)
  }
}
