import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { bootErrors, kitErrors } from '@escala/kit/errors/errors'
import { apiSettings } from '../apps/api/src/config.ts'
import { apiModules, dataModules } from '../apps/api/src/modules.ts'
import { workerSettings } from '../apps/worker/src/config.ts'
import { workerModules } from '../apps/worker/src/modules.ts'

/** Holds the pages to the code: errors, variables, problems, commands and links. Prints every difference; exits with 1 if there is one. */
const root = resolve(import.meta.dirname, '..')
const problems: string[] = []
const read = (path: string) => (existsSync(join(root, path)) ? readFileSync(join(root, path), 'utf8') : '')

function same(what: string, code: Iterable<string>, docs: Iterable<string>) {
  const inCode = new Set(code)
  const inDocs = new Set(docs)
  for (const name of inCode) if (!inDocs.has(name)) problems.push(`${what}: ${name} is not in the docs`)
  for (const name of inDocs) if (!inCode.has(name)) problems.push(`${what}: ${name} is in the docs only`)
}

function headings(path: string, pattern: RegExp): string[] {
  return [...read(path).matchAll(pattern)].map((match) => match[1] ?? '')
}

const errorCodes = [kitErrors, bootErrors, ...dataModules.map((module) => module.errors)].flatMap(Object.keys)
same('errors', errorCodes, headings('docs/errors.md', /^### `?(E_[A-Z_]+)`?$/gm))

// What NGINX answers has the code and the title of the API's own answer.
for (const [, title, code = ''] of read('infra/nginx/escala.conf.template').matchAll(/"title":"(.*)","code":"(\w+)/g)) {
  const known = Object.entries(kitErrors).find(([name]) => name === code)?.[1]().kind.title
  if (known !== title) problems.push(`errors: NGINX says "${title}" for ${code}, the kit ${known}`)
}

const settings = [apiSettings, workerSettings, ...[...apiModules, ...workerModules].map((module) => module.settings)]
const ofNginx = [...read('docker-compose.yml').matchAll(/^ +(CONNECTIONS_PER_ADDRESS):/gm)].map(
  (match) => match[1] ?? '',
)
same(
  'variables',
  [...settings.flatMap(Object.keys), ...ofNginx],
  headings('docs/configuration.md', /^\| `([A-Z0-9_]+)` \|/gm),
)

const labs = readdirSync(join(root, 'labs')).filter((name) => existsSync(join(root, 'labs', name, 'scenario.ts')))
const pages = readdirSync(join(root, 'docs/problems')).flatMap((name) =>
  name === 'README.md' ? [] : [name.replace('.md', '')],
)
same('problems, pages', labs, pages)
same('problems, table', labs, headings('docs/problems/README.md', /\]\(([a-z-]+)\.md\)/g))
same('problems, table of the README', labs, headings('README.md', /\]\(docs\/problems\/([a-z-]+)\.md\)/g))
for (const page of pages) {
  for (const heading of [
    'Symptom',
    'Why',
    'See it fail',
    'The fix',
    'What it costs',
    'When not to',
    'Take it into your own API',
    'Sources',
  ]) {
    if (!read(`docs/problems/${page}.md`).includes(`\n## ${heading}\n`))
      problems.push(`docs/problems/${page}.md has no section "${heading}"`)
  }
}

const scripts = Object.keys(JSON.parse(read('package.json')).scripts)
const adrs = readdirSync(join(root, 'docs/adr')).filter((name) => name !== 'README.md')
same('decisions', adrs, headings('docs/adr/README.md', /\]\((\d{4}-[a-z0-9-]+\.md)\)/g))

const guides = readdirSync(join(root, 'docs/guides')).filter((name) => name !== 'README.md')
same('guides', guides, headings('docs/guides/README.md', /\]\(([a-z-]+\.md)\)/g))

const documents = ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'AGENTS.md', 'SECURITY.md', ...markdown('docs')]
for (const path of documents) {
  const text = read(path)
  for (const [, name = ''] of text.matchAll(/\bnpm run ([a-z][a-z:-]*)/g)) {
    if (!scripts.includes(name)) problems.push(`${path}: npm run ${name} does not exist`)
  }
  for (const [, name = ''] of text.matchAll(/\bnpm run lab ([a-z][a-z-]*)/g)) {
    if (!labs.includes(name)) problems.push(`${path}: npm run lab ${name} does not exist`)
  }
  const prose = text.replace(/^```[\s\S]*?^```/gm, '') // what a program printed may look like a link
  for (const [, target = ''] of prose.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)) {
    if (!existsSync(resolve(root, dirname(path), target))) problems.push(`${path}: ${target} does not exist`)
  }
}

// A page that names a test as `file › name` promises that it is there.
const namedTests = documents.flatMap((path) =>
  [...read(path).matchAll(/`([\w./-]+\.ts) › ([^`]+)`/g)].map(([, file = '', name = '']) => ({ path, file, name })),
)
for (const { path, file, name } of namedTests) {
  const text = read(file).replaceAll("\\'", "'")
  const isThere = [`'${name}'`, `"${name}"`, `\`${name}\``].some((quoted) => text.includes(quoted))
  if (!isThere) problems.push(`${path}: ${file} has no test "${name}"`)
}

function markdown(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory()
      ? markdown(join(folder, entry.name))
      : entry.name.endsWith('.md')
        ? [join(folder, entry.name)]
        : [],
  )
}

for (const problem of problems) console.error(problem)
console.log(
  `docs: ${errorCodes.length} errors, ${labs.length} problems, ${documents.length} pages, ${namedTests.length} named tests, ${problems.length} differences`,
)
process.exitCode = problems.length > 0 ? 1 : 0
