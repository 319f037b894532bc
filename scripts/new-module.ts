import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { failUsage, readCommandLine } from '../infra/local/command-line.ts'
import { addModule } from './module-list.ts'

const usage = `usage: npm run new:module -- NAME [--dry-run]

  Writes the skeleton of a module to packages/NAME: a table, two routes, a job and a test on three replicas,
  and adds its line to apps/modules.ts.
  NAME       one word of 2 to 30 lower-case letters and digits, such as invoices
  --dry-run  lists what would be written`

const root = join(import.meta.dirname, '..')
const template = join(import.meta.dirname, 'new-module/template')
/** The name that stands in the template. */
const placeholder = 'placeholders'

/** Reserved words that the pattern of names lets through: the module's name is a constant in the code. */
const reserved =
  'await break case catch class const continue debugger default delete do else enum export extends false finally for function if import in instanceof interface let new null package private protected public return static super switch this throw true try typeof var void while with yield'.split(
    ' ',
  )

const { positionals, values } = readCommandLine(usage, { 'dry-run': { type: 'boolean', default: false } }, 1)
const [given] = positionals
if (given === undefined) failUsage(usage, 'no name')
try {
  create(given, values['dry-run'] || process.env.npm_config_dry_run === 'true')
} catch (error) {
  console.error(`new:module: ${(error as Error).message}`)
  process.exitCode = 1
}

function create(name: string, isDry: boolean): void {
  refuse(name)
  const files = readdirSync(template, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(template.length + 1))
    .map((file) => ({ from: join(template, file), to: `packages/${name}/${file.replaceAll(placeholder, name)}` }))
    .sort((one, other) => (one.to < other.to ? -1 : 1))
  for (const { to } of files) console.log(`${isDry ? 'would write' : 'wrote'} ${to}`)
  for (const path of ['apps/modules.ts', 'package-lock.json']) {
    console.log(`${isDry ? 'would change' : 'changed'} ${path}`)
  }
  if (isDry) return
  for (const { from, to } of files) {
    mkdirSync(dirname(join(root, to)), { recursive: true })
    writeFileSync(join(root, to), readFileSync(from, 'utf8').replaceAll(placeholder, name))
  }
  addModule(join(root, 'apps/modules.ts'), { name, from: `@escala/${name}/module` })
  link(name)
  // Another name may make another line break, and another order of imports.
  const biome = join(root, 'node_modules/.bin/biome')
  const written = [`packages/${name}`, 'apps/modules.ts']
  const { status, stderr } = spawnSync(
    biome,
    ['check', '--write', '--linter-enabled=false', '--log-level=error', ...written],
    {
      cwd: root,
      encoding: 'utf8',
    },
  )
  if (status !== 0) throw new Error(`the new files could not be formatted:\n${stderr}`)
  console.log(
    `\nNext:\n  npm test -- packages/${name}    # its routes and its job, on three replicas\n  npm start                     # the whole system, with /v1/${name}`,
  )
}

/** Throws when the name is no name, or is taken: by a folder, a package that is installed, or a route. */
function refuse(name: string): void {
  if (!/^[a-z][a-z0-9]{1,29}$/.test(name))
    throw new Error(`${JSON.stringify(name)} is not one word of 2 to 30 lower-case letters and digits`)
  if (reserved.includes(name)) throw new Error(`${name} is a word of JavaScript`)
  if (existsSync(join(root, 'packages', name))) throw new Error(`packages/${name} exists`)
  if (existsSync(join(root, 'node_modules/@escala', name))) throw new Error(`@escala/${name} exists`)
  const route = new RegExp(`path: '/v1/${name}['/]`)
  for (const folder of ['apps', 'packages']) {
    for (const file of readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })) {
      if (!file.endsWith('.ts') || file.endsWith('.test.ts') || file.includes('node_modules')) continue
      if (route.test(readFileSync(join(root, folder, file), 'utf8'))) {
        throw new Error(`/v1/${name} is a route of ${folder}/${file}`)
      }
    }
  }
}

/** Makes it a workspace, as `npm install` would: in the lock file, and in node_modules. Needs no registry. */
function link(name: string): void {
  const path = join(root, 'package-lock.json')
  const lock = JSON.parse(readFileSync(path, 'utf8')) as { packages: Record<string, unknown> }
  const {
    name: full,
    version,
    dependencies,
    devDependencies,
  } = JSON.parse(readFileSync(join(root, `packages/${name}/package.json`), 'utf8'))
  lock.packages[`node_modules/${full}`] = { resolved: `packages/${name}`, link: true }
  lock.packages[`packages/${name}`] = { name: full, version, dependencies, devDependencies }
  // npm's order: the root, then by name.
  const { '': own, ...others } = lock.packages
  const sorted = Object.entries(others).sort(([one], [other]) => one.localeCompare(other, 'en'))
  writeFileSync(path, `${JSON.stringify({ ...lock, packages: { '': own, ...Object.fromEntries(sorted) } }, null, 2)}\n`)
  symlinkSync(`../../packages/${name}`, join(root, 'node_modules', full))
}
