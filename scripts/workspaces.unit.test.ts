import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const root = join(import.meta.dirname, '..')
const read = (path: string) => readFileSync(join(root, path), 'utf8')

interface Package {
  name: string
  version?: string
  exports?: Record<string, string>
  dependencies?: Record<string, string>
  devDependencies?: Record<string, string>
  peerDependencies?: Record<string, string>
  peerDependenciesMeta?: Record<string, { optional: boolean }>
  publishConfig?: object
}

const files = execFileSync('git', ['ls-files', 'apps', 'packages'], { cwd: root, encoding: 'utf8' })
  .split('\n')
  .filter((path) => existsSync(join(root, path)))
const workspaces = files
  .filter((path) => /^[^/]+\/[^/]+\/package\.json$/.test(path))
  .map((path) => path.replace('/package.json', ''))
const manifest = (workspace: string): Package => JSON.parse(read(`${workspace}/package.json`))

/** Files that only tests load: what they import need not be installed where the program runs. */
const ofTests = (path: string) => /\.(test|contract)\.ts$|\/test-[^/]*\.ts$/.test(path)

/** The packages that these files import, without Node's own and the workspace itself. */
function imported(paths: string[], self: string): string[] {
  const names = paths.flatMap((path) =>
    [...read(path).matchAll(/(?:^import |\bfrom |\bimport\()'([a-z@][\w@./-]*)'/gm)].map(([, from = '']) =>
      from
        .split('/')
        .slice(0, from.startsWith('@') ? 2 : 1)
        .join('/'),
    ),
  )
  return [...new Set(names)]
    .filter((name) => !/^node:/.test(name) && !builtinModules.includes(name) && name !== self)
    .sort()
}

test.each(workspaces)('%s declares what it imports', (workspace) => {
  const { name, devDependencies = {}, ...declared } = manifest(workspace)
  const dependencies = { ...declared.dependencies, ...declared.peerDependencies }
  const code = files.filter((path) => path.startsWith(`${workspace}/`) && path.endsWith('.ts'))
  const needed = imported(
    code.filter((path) => !ofTests(path) && workspace !== 'packages/testing'),
    name,
  )
  expect(needed.filter((one) => !(one in dependencies))).toEqual([])
  expect(imported(code, name).filter((one) => !(one in dependencies) && !(one in devDependencies))).toEqual([])
})

test('a package has one version, wherever it is declared', () => {
  const declared = new Map<string, Set<string>>()
  for (const { dependencies, devDependencies } of [
    ...workspaces.map(manifest),
    JSON.parse(read('package.json')) as Package,
  ]) {
    for (const [name, version] of Object.entries({ ...dependencies, ...devDependencies })) {
      declared.set(name, (declared.get(name) ?? new Set()).add(version))
    }
  }
  expect([...declared].filter(([, versions]) => versions.size > 1)).toEqual([])
})
