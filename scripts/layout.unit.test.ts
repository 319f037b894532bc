import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, expect, test } from 'vitest'

const root = join(import.meta.dirname, '..')
const folder = mkdtempSync(join(tmpdir(), 'escala-layout-'))
afterAll(() => rmSync(folder, { recursive: true }))

const imports = (from: string) => `import { one } from '${from}'\n\none()\n`
const restricted = 'noRestrictedImports'

/** Rule of the layout → a file that breaks it, and what Biome must find there. */
const broken: [string, string, string, string][] = [
  ['only main.ts reads the environment', 'apps/api/src/app.ts', 'console.log(process.env.PORT)\n', 'noProcessEnv'],
  ['and no package does', 'packages/kit/src/cache/a.ts', 'console.log(process.env.PORT)\n', 'noProcessEnv'],
  ['the API does not know that labs exist', 'apps/api/src/b.ts', imports('../../../labs/shop.ts'), restricted],
  ['nor does a test of it', 'apps/api/src/b.test.ts', imports('../../../labs/shop.ts'), restricted],
  ['nor do the adapters that it picks', 'apps/api/src/parts.ts', imports('../../../labs/shop.ts'), restricted],
  ['nor does the kit', 'packages/kit/src/cache/b.ts', imports('../../../../labs/shop.ts'), restricted],
  ['nor do modules', 'packages/links/src/b.ts', imports('../../../labs/shop.ts'), restricted],
  ['nor does testing', 'packages/testing/src/b.ts', imports('../../../labs/shop.ts'), restricted],
  ['an application does not use testing', 'apps/worker/src/c.ts', imports('@escala/testing/client'), restricted],
  ['nor does the kit', 'packages/kit/src/cache/c.ts', imports('@escala/testing/client'), restricted],
  ['nor does it start servers', 'packages/kit/src/cache/d.ts', imports('@escala/servers/redis'), restricted],
  ['nor do modules', 'packages/links/src/c.ts', imports('@escala/testing/client'), restricted],
  ['parts.ts picks adapters', 'apps/api/src/compose.ts', imports('@escala/kit/sessions/memory'), restricted],
  ['in the worker, too', 'apps/worker/src/compose.ts', imports('@escala/kit/jobs/bullmq-schedules'), restricted],
  ['the API does not know the worker', 'apps/api/src/d.ts', imports('@escala/worker/config'), restricted],
  ['the worker does not know the API', 'apps/worker/src/d.ts', imports('../../api/src/config.ts'), restricted],
  ['the kit knows no module', 'packages/kit/src/http/e.ts', imports('@escala/accounts/data'), restricted],
  ['nor does a test of it', 'packages/kit/src/cache/e.test.ts', imports('@escala/accounts/api'), restricted],
  ['the kit knows no application', 'packages/kit/src/e.ts', imports('@escala/api/config'), restricted],
  ['the kit imports itself relatively', 'packages/kit/src/cache/f.ts', imports('@escala/kit/log/log'), restricted],
  ['a capability is an island', 'packages/kit/src/outbox/g.ts', imports('../jobs/jobs.ts'), restricted],
  ['and does not know http', 'packages/kit/src/overload/g.ts', imports('../http/route.ts'), restricted],
  ['nor what it is put together into', 'packages/kit/src/cache/g.ts', imports('../module.ts'), restricted],
  ['http is none, but not everything', 'packages/kit/src/http/g.ts', imports('../jobs/jobs.ts'), restricted],
  ['nor is lifecycle', 'packages/kit/src/lifecycle/g.ts', imports('../redis/redis.ts'), restricted],
  ['a module imports no adapter', 'packages/links/src/h.ts', imports('@escala/kit/locks/redis'), restricted],
  ['nor ioredis', 'packages/links/src/i.ts', imports('ioredis'), restricted],
  ['nor bullmq', 'packages/links/src/j.ts', imports('bullmq'), restricted],
  ['nor pg', 'packages/accounts/src/j.ts', imports('pg'), restricted],
  ['a module knows no application', 'packages/links/src/k.ts', imports('@escala/api/config'), restricted],
  // sample
  ['accounts know no other module', 'packages/accounts/src/k.ts', imports('@escala/tickets/api'), restricted],
  // /sample
  ['imports have no circles', 'packages/kit/src/locks/l.ts', imports('./m.ts'), 'noImportCycles'],
  [
    'of types neither',
    'packages/kit/src/locks/m.ts',
    `import type { A } from './l.ts'\n\nexport const one = (a?: A) => a\n`,
    'noImportCycles',
  ],
  ['nothing is exported by default', 'packages/kit/src/cache/n.ts', 'export default 1\n', 'noDefaultExport'],
]

/** Files that keep the rules. */
const sound: [string, string][] = [
  ['apps/api/src/main.ts', 'console.log(process.env.PORT)\n'],
  [
    'apps/api/src/ok.test.ts',
    imports('@escala/testing/client') + imports('@escala/kit/sessions/memory').replaceAll('one', 'two'),
  ],
  ['apps/worker/src/parts.ts', imports('@escala/kit/jobs/bullmq')],
  ['packages/kit/src/cache/ok.ts', imports('../redis/redis.ts') + imports('../scope.ts').replaceAll('one', 'two')],
  ['packages/kit/src/ok.ts', imports('./jobs/jobs.ts')],
  ['packages/kit/src/outbox/ok.test.ts', imports('../jobs/bullmq.ts')],
  [
    'packages/links/src/ok.ts',
    imports('@escala/kit/postgres/postgres') + imports('@escala/kit/locks/locks').replaceAll('one', 'two'),
  ],
  ['packages/links/src/ok.test.ts', imports('@escala/kit/locks/redis')],
]

/** One run of Biome over all of them: file → rules that it breaks. */
function lint(files: [string, string][]): Map<string, string[]> {
  cpSync(join(root, 'biome.json'), join(folder, 'biome.json'))
  for (const [path, text] of files) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), text)
  }
  const args = ['lint', '--reporter=json', '--max-diagnostics=none', '--vcs-enabled=false', '.']
  const { stdout } = spawnSync(join(root, 'node_modules/.bin/biome'), args, { cwd: folder, encoding: 'utf8' })
  const found = new Map<string, string[]>()
  for (const { category, location } of JSON.parse(stdout).diagnostics) {
    const path = String(location.path.file ?? location.path)
    found.set(path, [...(found.get(path) ?? []), category.split('/').at(-1)])
  }
  return found
}

const found = lint([...broken.map(([, path, text]): [string, string] => [path, text]), ...sound])

test.each(broken)('%s: %s', (_, path, __, rule) => expect(found.get(path)).toContain(rule))

test.each(sound)('%s keeps the rules', (path) => expect(found.get(path)).toBeUndefined())

/** What no import can show: folders that say nothing, barrels, and broken halves outside of the labs. */
const misplaced = (paths: string[]) =>
  paths.filter(
    (path) =>
      /(^|\/)(utils?|helpers?|common|services|shared)\//.test(path) ||
      /^(apps|packages)\/.*\/(index\.ts|naive[^/]*)$/.test(path),
  )

test('files stand where their name says something', () => {
  const paths = [
    'packages/kit/src/utils/a.ts',
    'apps/api/src/helpers/a.ts',
    'packages/links/src/index.ts',
    'packages/kit/src/cache/naive.ts',
  ]
  expect(misplaced(paths)).toEqual(paths)
  expect(misplaced(execFileSync('git', ['ls-files'], { cwd: root, encoding: 'utf8' }).split('\n'))).toEqual([])
})

/** Tests that run a contract suite and are not named after it or its folder. */
const misnamed = (files: [path: string, text: string][]) =>
  files.filter(([path, text]) => {
    const [, folder = '', name = ''] = /([^/]+)\/([^/]+?)(?:\.unit)?\.test\.ts$/.exec(path) ?? []
    const suites = [...text.matchAll(/describe\w+ \} from '\.\/([\w-]+)\.contract\.ts'/g)].map(([, suite]) => suite)
    return suites.length > 0 && name !== folder && !suites.includes(name)
  })

test('the tests of one capability have one form: <capability>.contract.ts, <capability>.test.ts, <capability>.unit.test.ts', () => {
  const suite = "import { describeLocks } from './locks.contract.ts'"
  expect(misnamed([['packages/kit/src/locks/redis.test.ts', suite]])).toHaveLength(1)
  const paths = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', 'packages/*.test.ts'], {
    cwd: root, // in a copy of the checkout nothing is committed
    encoding: 'utf8',
  })
    .trim()
    .split('\n')
  expect(misnamed(paths.map((path) => [path, readFileSync(join(root, path), 'utf8')]))).toEqual([])
})
