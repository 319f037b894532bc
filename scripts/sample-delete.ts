import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ticketsApi } from '@escala/tickets/api'
import { ticketErrors } from '@escala/tickets/errors'
import { ticketsWorker } from '@escala/tickets/worker'
import { freePort } from '../infra/local/processes.ts'
import { until } from '../infra/local/waiting.ts'
import { copyCheckout } from './copy-checkout.ts'
import { labsOfSample } from './sample/labs.ts'
import { withoutSample } from './sample/pages.ts'

// npm run sample:delete              removes the ticket shop from this checkout
// npm run sample:delete -- --check   removes it from a copy instead, and runs the checks there
const here = join(import.meta.dirname, '..')
const errors = Object.keys(ticketErrors)
const settings = [ticketsApi, ticketsWorker].flatMap((module) => Object.keys(module.settings))

function deleteSample(root: string): void {
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
    'packages/kit/src/cart',
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
  for (const path of [
    'apps/api/src/parts.ts',
    'packages/kit/src/module.ts',
    'packages/kit/src/redis/prefixes.ts',
    'packages/kit/src/redis/prefixes.unit.test.ts',
    'packages/kit/src/replicas/consequences.ts',
  ]) {
    edit(path, (text) => text.replace(/^.*\b(cart|\w*[cC]arts|ordernumbers)\b.*\n/gm, ''))
  }
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
    edit(path, (text) => withoutSample(text, { labs, errors, settings }))
  }
  edit('CHANGELOG.md', (text) => text.replace(/^## Unreleased\n[\s\S]*/m, '## Unreleased\n')) // of the product that begins here
  run(root, 'biome', [
    'lint',
    '--write',
    '--unsafe',
    '--only=correctness/noUnusedImports',
    '--log-level=error',
    'apps',
    'scripts',
  ])
  run(root, 'biome', [
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

// Distinguishes what is read here from English words: a list "shows" something, and values have an order.
const words = [
  ...errors,
  ...settings.filter((name) => name !== 'PAYMENTS_URL'), // the stand-ins stay
  '/v1/(shows|orders|carts?|reports)\\b',
  '\\b[\\w-]*(ticket|poster)s?\\b',
  '\\b(carts?|orders-sweep|reports-sales|sales[._]reports?)\\b',
]

/** Words of the sample, and pages that are gone, in what is left: `file:line: text`. The change log is history. */
function remains(root: string): string[] {
  const pattern = new RegExp(words.join('|'), 'i')
  const list = spawnSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
  })
  const files = list.stdout.split('\n').filter((path) => /\.(ts|mjs|cjs|json|md|yml|sql|conf|template|sh)$/.test(path))
  return files
    .filter((path) => existsSync(join(root, path)) && !['CHANGELOG.md', 'package-lock.json'].includes(path))
    .flatMap((path) =>
      readFileSync(join(root, path), 'utf8')
        .split('\n')
        .flatMap((line, index) => {
          const page = /docs\/problems\/([a-z-]+)\.md/.exec(line)?.[1]
          const dangling = page !== undefined && !existsSync(join(root, `docs/problems/${page}.md`))
          return pattern.test(line) || dangling ? [`${path}:${index + 1}: ${line.trim()}`] : []
        }),
    )
}

function markdown(root: string, folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(folder, name))
}

function run(root: string, tool: string, args: string[]): boolean {
  const bin = join(root, 'node_modules', '.bin')
  const env = { ...process.env, PATH: `${bin}:${process.env.PATH}` }
  return spawnSync(join(bin, tool), args, { cwd: root, env, stdio: 'inherit' }).status === 0
}

async function check(): Promise<boolean> {
  using copy = copyCheckout(here)
  deleteSample(copy.root)
  const steps: [string, string[]][] = [
    ['biome', ['ci', '.']],
    ['tsc', ['-p', '.']],
    ['knip', []],
    ['node', ['scripts/check-docs.ts']],
    ['vitest', ['run', '--reporter', 'dot', '--project', 'unit']],
    ['vitest', ['run', '--reporter', 'dot', '--project', 'contract', 'apps', 'infra']], // the kit's own know no sample
    // Those of the labs that stay, and whole clusters: the quick ones.
    [
      'vitest',
      [
        'run',
        '--reporter',
        'dot',
        '--project',
        'labs',
        'packages/testing',
        ...['schedules', 'secrets', 'sessions'].map((lab) => `labs/${lab}/`),
      ],
    ],
  ]
  const failed = steps.filter(([tool, args]) => {
    console.log(`== ${[tool, ...args].join(' ')}`)
    return !run(copy.root, tool, args)
  })
  for (const [tool] of failed) console.error(`FAILED without the sample: ${tool}`)
  const left = remains(copy.root)
  for (const line of left) console.error(line)
  if (left.length > 0) console.error(`FAILED: ${left.length} lines of the sample are left`)
  await start(copy.root)
  return failed.length === 0 && left.length === 0
}

/** Starts what is left as `npm start` does, signs up and logs in. Throws when it cannot. */
async function start(root: string): Promise<void> {
  console.log('== start, sign up, log in')
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const child = spawn(process.execPath, ['infra/local/start.ts', '--port', String(port)], {
    cwd: root,
    env: { ...process.env, ESCALA_FOLDER: undefined },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = once(child, 'exit')
  let output = ''
  child.stdout.on('data', (chunk) => (output += chunk))
  const send = async (path: string, body?: unknown, cookie = '') => {
    const headers = { 'content-type': 'application/json', cookie }
    const answer = await fetch(`${url}${path}`, { method: body ? 'POST' : 'GET', headers, body: JSON.stringify(body) })
    assert.ok(answer.ok, `${path} answers ${answer.status}: ${await answer.clone().text()}`)
    return answer
  }
  try {
    const ready = () => output.includes('Ctrl-C stops everything') || child.exitCode !== null
    await until(ready, 60_000, () => `it was not ready after 60 s:\n${output}`)
    assert.equal(child.exitCode, null, `it ended:\n${output}`)
    const account = { email: 'ann@example.com', password: 'a password of a check' }
    await send('/v1/users', { ...account, name: 'Ann' })
    const loggedIn = await send('/v1/session', account)
    const cookie = loggedIn.headers
      .getSetCookie()
      .map((line) => line.split(';')[0])
      .join('; ')
    const { user } = (await (await send('/v1/session', undefined, cookie)).json()) as { user: { email: string } }
    assert.equal(user.email, account.email)
  } finally {
    child.kill('SIGTERM')
    await exited
  }
}

function isClean(root: string): boolean {
  const { status, stdout } = spawnSync('git', ['status', '--porcelain'], { cwd: root, encoding: 'utf8' })
  return status === 0 && stdout === ''
}

if (process.argv.includes('--check')) {
  process.exitCode = (await check()) ? 0 : 1
} else if (!process.argv.includes('--force') && !isClean(here)) {
  console.error('Something here is not committed. Commit it first, so that you can go back, or add: -- --force')
  process.exitCode = 1
} else {
  deleteSample(here)
  console.log(
    '\nThe ticket shop is gone. What is left: accounts, log-in, the kit. Next: npm run check, npm test, npm start -- --fresh',
  )
}
