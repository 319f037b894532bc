import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { labsOfSample } from './labs.ts'
import { withoutSample } from './pages.ts'
import { runTool } from './run-tool.ts'
import { errors, settings } from './words.ts'

/** Removes the ticket shop and everything that only it needs from a checkout. Prints each path that it changes or removes. */
export function deleteSample(root: string): void {
  const edit = (path: string, change: (text: string) => string) => {
    const text = readFileSync(join(root, path), 'utf8')
    const changed = change(text)
    if (changed === text) return
    writeFileSync(join(root, path), changed)
    console.log(`changed ${path}`)
  }
  const remove = (path: string) => {
    if (!existsSync(join(root, path))) return
    rmSync(join(root, path), { recursive: true })
    console.log(`removed ${path}`)
  }

  const labs = labsOfSample(root)
  const before = packagesUsed(root)
  for (const lab of labs) for (const path of [`labs/${lab}`, `docs/problems/${lab}.md`, `docs/${lab}.md`]) remove(path)
  for (const path of [
    'packages/tickets',
    'apps/api/src/outage.test.ts',
    'apps/api/src/refusals.test.ts',
    'apps/api/src/scoped-tokens.test.ts',
    'apps/api/src/streams.test.ts',
    'labs/shop.ts',
    'labs/recovery.ts',
    'labs/bench/sample',
    'labs/roll-out.ts',
    'node_modules/@escala/tickets',
    'scripts/sample',
    'scripts/sample-delete.ts',
  ]) {
    remove(path)
  }
  edit('apps/modules.ts', (text) => text.replace(/^.*@escala\/tickets\/.*\n/m, ''))
  for (const path of sources(root)) edit(path, (text) => withoutPages(withoutMarked(text), labs))
  edit('biome.json', (text) => withoutJson(text, dropSample))
  const after = packagesUsed(root)
  const unused = [...before].filter((name) => !after.has(name))
  edit('package.json', (text) =>
    withoutJson(text, ({ scripts, devDependencies }) => {
      delete scripts['sample:delete']
      delete scripts.endurance
      delete scripts.fuzz
      delete scripts.growth
      delete scripts['upgrade:check']
      for (const name of unused) delete devDependencies[name]
    }),
  )
  edit('package-lock.json', (text) =>
    withoutJson(text, ({ packages }) => {
      delete packages['packages/tickets']
      delete packages['node_modules/@escala/tickets']
      for (const app of ['api', 'worker']) delete packages[`apps/${app}`].dependencies['@escala/tickets']
      for (const name of unused) delete packages[''].devDependencies[name]
    }),
  )
  for (const app of ['api', 'worker']) {
    edit(`apps/${app}/package.json`, (text) =>
      withoutJson(text, ({ dependencies }) => void delete dependencies['@escala/tickets']),
    )
  }
  // What the kit offers and no module uses any more is no mistake.
  edit('knip.json', (text) =>
    withoutJson(text, ({ workspaces }) => void delete workspaces['packages/*'].includeEntryExports),
  )
  for (const path of ['README.md', 'CONTRIBUTING.md', 'AGENTS.md', ...markdown(root, 'docs')]) {
    edit(path, (text) => withoutSample(text, { labs, errors, settings }, path.startsWith('docs/guides/')))
  }
  edit('CHANGELOG.md', (text) => text.replace(/^## Unreleased\n[\s\S]*/m, '## Unreleased\n')) // of the product that begins here
  runTool(root, 'biome', [
    'lint',
    '--write',
    '--unsafe',
    '--only=correctness/noUnusedImports',
    '--log-level=error',
    'apps',
    'scripts',
  ])
  runTool(root, 'biome', [
    'check',
    '--write',
    '--log-level=error',
    'apps',
    'packages',
    'scripts',
    'labs',
    'biome.json',
    'knip.json',
    'package.json',
  ])
}

/** Everything that is neither a page nor data. */
function sources(root: string): string[] {
  return ['apps', 'packages', 'scripts', 'infra', 'labs'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.(ts|mjs|cjs|yml|sh)$/.test(name) && !name.includes('node_modules'))
      .map((name) => join(folder, name)),
  )
}

function withoutMarked(text: string): string {
  return text.replace(/^ *(\/\/|#) sample\n[\s\S]*?^ *\1 \/sample\n/gm, '')
}

/** Messages that lead to the page of a lab that goes lead to the list of all pages. */
function withoutPages(text: string, labs: string[]): string {
  return text
    .replace(new RegExp(`docs/problems/(${labs.join('|')})\\.md`, 'g'), 'docs/problems/README.md')
    .replace(new RegExp(`(slug: )'(${labs.join('|')})'`, 'g'), "$1'README'")
}

/** Packages that scripts, labs and infra import: what the sample's labs alone needed is not needed any more. */
function packagesUsed(root: string): Set<string> {
  const files = ['scripts', 'labs', 'infra'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts'))
      .map((name) => readFileSync(join(root, folder, name), 'utf8')),
  )
  const imports = files.flatMap((text) => [
    ...text.matchAll(/\bfrom '([a-z][a-z0-9-]*|@[^/']+\/[^/']+)(?:\/[^']*)?'$/gm),
  ])
  return new Set(imports.map(([, name = '']) => name))
}

// biome-ignore lint/suspicious/noExplicitAny: JSON that this repository wrote itself
function withoutJson(text: string, change: (json: any) => void): string {
  const json = JSON.parse(text)
  change(json)
  return `${JSON.stringify(json, null, 2)}\n`
}

// biome-ignore lint/suspicious/noExplicitAny: JSON that this repository wrote itself
function dropSample({ overrides }: any): void {
  overrides.splice(
    0,
    overrides.length,
    ...overrides.filter(({ includes }: { includes: string[] }) => !includes.some(ofSample)),
  )
  for (const { linter } of overrides) {
    const options = linter?.rules?.style?.noRestrictedImports?.options
    for (const pattern of options?.patterns ?? [])
      pattern.group = pattern.group.filter((path: string) => !ofSample(path))
  }
}

const ofSample = (path: string) => /tickets/.test(path)

function markdown(root: string, folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(folder, name))
}
