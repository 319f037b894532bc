import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { findBinaries } from '@escala/servers/binaries'
import { startRedis } from '@escala/servers/redis'
import { Redis } from 'ioredis'
import { readCommandLine } from '../../infra/local/command-line.ts'
import { readManifest } from './manifest.ts'
import { type Packed, packPackages } from './pack.ts'

const usage = `usage: npm run pack:check [-- --managers]
Packs the packages that are published, and uses the tarballs as somebody else would: types, every export on the oldest
Node.js and on this one, three replicas of an application. --managers: installs them with pnpm and yarn, too.`
const { values } = readCommandLine(usage, { managers: { type: 'boolean' } })

const root = join(import.meta.dirname, '../..')
const tools = join(root, '.escala/pack-tools')
const work = mkdtempSync(join(tmpdir(), 'escala-pack-'))
const run = (command: string, args: string[], cwd: string, env: NodeJS.ProcessEnv = {}) =>
  execFileSync(command, args, { cwd, encoding: 'utf8', timeout: 120_000, env: { ...process.env, ...env } })
const began = Date.now()
const done = (line: string) => console.log(`${((Date.now() - began) / 1000).toFixed(1).padStart(5)} s  ${line}`)

/** `packages` are added to a folder that has nothing. */
function install(name: string, packages: string[], type: 'module' | 'commonjs'): string {
  const folder = join(work, name)
  mkdirSync(folder)
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name, version: '1.0.0', private: true, type }))
  run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', ...packages], folder)
  return folder
}

/** Checks that are heavy are installed apart, by a lock file of their own, once for each version of it. */
function installTools(): void {
  const source = join(import.meta.dirname, 'tools')
  const lock = 'package-lock.json'
  const installed = join(tools, 'node_modules/.package-lock.json')
  if (existsSync(installed) && readFileSync(join(source, lock), 'utf8') === readFileSync(join(tools, lock), 'utf8'))
    return
  mkdirSync(tools, { recursive: true })
  for (const file of ['package.json', lock]) cpSync(join(source, file), join(tools, file))
  run('npm', ['ci', '--no-audit', '--no-fund'], tools)
}

async function sizeOf(folder: string): Promise<{ packages: number; bytes: number }> {
  const entries = await readdir(join(folder, 'node_modules'), { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  const { packages } = JSON.parse(readFileSync(join(folder, 'package-lock.json'), 'utf8')) as { packages: object }
  return {
    packages: Object.keys(packages).length - 1,
    bytes: files.reduce((sum, file) => sum + statSync(file).size, 0),
  }
}

const range = (name: string, from = 'packages/kit') => {
  const { dependencies, devDependencies } = readManifest(root, from)
  return `${name}@${{ ...dependencies, ...devDependencies }[name]}`
}

function checkPackages(packed: Packed[]): void {
  for (const { name, file } of packed) {
    run(process.execPath, [join(tools, 'node_modules/publint/src/cli.js'), file, '--strict'], root)
    const attw = join(tools, 'node_modules/@arethetypeswrong/cli/dist/index.js')
    run(process.execPath, [attw, file, '--profile', 'esm-only', '--format', 'ascii'], root)
    done(`${name}: publint and attw find nothing`)
  }
}

/** What locks over Redis bring along, beside the client that they are used with. */
async function checkSize(kit: Packed): Promise<string> {
  const client = install('client', [range('ioredis')], 'commonjs')
  const folder = install('locks', [kit.file, range('ioredis')], 'commonjs')
  const [without, all] = [await sizeOf(client), await sizeOf(folder)]
  const packages = all.packages - without.packages
  const bytes = all.bytes - without.bytes
  assert(packages <= 10 && bytes <= 5e6, `locks over Redis add ${packages} packages and ${bytes} bytes`)
  done(`locks over Redis add ${packages} packages and ${(bytes / 1e6).toFixed(1)} MB to ioredis`)
  return folder
}

function checkExports(packed: Packed[]): void {
  const { peerDependencies = {} } = readManifest(root, 'packages/kit')
  const clients = Object.keys(peerDependencies).filter((name) => name !== 'vitest' && !name.startsWith('@escala/'))
  const folder = install(
    'everything',
    [...packed.map(({ file }) => file), ...clients.map((name) => range(name))],
    'module',
  )
  cpSync(join(import.meta.dirname, 'consumer/every-export.mjs'), join(folder, 'every-export.mjs'))
  for (const node of nodes) {
    done(run(node, ['every-export.mjs', ...packed.map(({ name }) => name)], folder).trim())
  }
}

/** The application of the examples, with what it declares and nothing else, compiles in both ways that there are. */
function checkTypes(packed: Packed[]): string {
  const source = join(root, 'examples/express-5')
  const { dependencies = {}, devDependencies = {} } = readManifest(root, 'examples/express-5')
  const others = Object.entries({ ...dependencies, ...devDependencies }).filter(
    ([name]) => name !== '@escala/kit' && name !== 'typescript',
  )
  const kit = packed.find(({ name }) => name === '@escala/kit') as Packed
  const folder = install('express-5', [kit.file, ...others.map(([name, version]) => `${name}@${version}`)], 'module')
  for (const name of ['src', 'replicas.mjs']) cpSync(join(source, name), join(folder, name), { recursive: true })
  for (const [module, moduleResolution] of [
    ['nodenext', 'nodenext'],
    ['esnext', 'bundler'],
  ]) {
    const options = { module, moduleResolution, target: 'es2024', lib: ['es2024', 'esnext.disposable'] }
    const compilerOptions = {
      ...options,
      strict: true,
      noEmit: true,
      allowImportingTsExtensions: true,
      skipLibCheck: true,
      types: ['node'],
    }
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['src'] }))
    run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', '.'], folder)
    done(`an application compiles with moduleResolution ${moduleResolution}`)
  }
  return folder
}

/** Sessions, limits, request ids and drain on three replicas: broken with state in memory, whole with state in Redis. */
async function checkReplicas(folder: string, redisUrl: string): Promise<void> {
  const see = (node: string, server: string) =>
    JSON.parse(run(node, ['replicas.mjs', `src/${server}.ts`], folder, { REDIS_URL: redisUrl }))
  const shared = { drained: 'done', exitCode: 0, requestId: true }
  assert.deepEqual(see(process.execPath, 'naive-server'), {
    ...shared,
    seen: [null, null],
    after: 'ana',
    allowed: 36,
    refused: 0,
  })
  done('three replicas with state in memory: no log-in elsewhere, log-out has no effect, three times the limit')
  for (const node of nodes) {
    const admin = new Redis(redisUrl)
    await admin.flushall() // each run begins with its whole limit
    admin.disconnect()
    assert.deepEqual(see(node, 'server'), { ...shared, seen: ['ana', 'ana'], after: null, allowed: 12, refused: 24 })
    done(`three replicas with state in Redis, on ${run(node, ['--version'], folder).trim()}: one log-in, one limit`)
  }
}

function checkManagers(packed: Packed[]): void {
  const kit = packed.find(({ name }) => name === '@escala/kit') as Packed
  for (const [manager, add] of [
    ['pnpm', ['add', '--config.strict-dep-builds=false']],
    ['yarn@1', ['add', '--ignore-scripts', '--non-interactive']],
  ] as const) {
    const folder = join(work, manager)
    mkdirSync(folder)
    writeFileSync(join(folder, 'package.json'), '{"name":"app","version":"1.0.0","private":true}')
    run('npx', ['--yes', manager, ...add, kit.file, range('ioredis')], folder)
    run(process.execPath, ['-e', "require('@escala/kit/locks/redis').createRedisLocks"], folder)
    done(`${manager} installs it`)
  }
}

const redisFolder = join(work, 'redis')
mkdirSync(redisFolder)
const redis = await startRedis({ binaries: await findBinaries(), dir: redisFolder })
const nodes: string[] = []
try {
  installTools()
  nodes.push(process.execPath, join(tools, 'node_modules/node/bin/node'))
  const packed = packPackages(root)
  done(`packed: ${packed.map(({ name, version }) => `${name}@${version}`).join(', ')}`)
  checkPackages(packed)
  const locks = await checkSize(packed.find(({ name }) => name === '@escala/kit') as Packed)
  cpSync(join(import.meta.dirname, 'consumer/locks.cjs'), join(locks, 'locks.cjs'))
  for (const node of nodes) done(run(node, ['locks.cjs'], locks, { REDIS_URL: redis.url }).trim())
  checkExports(packed)
  await checkReplicas(checkTypes(packed), redis.url)
  if (values.managers) checkManagers(packed)
} finally {
  await redis.stop()
  rmSync(work, { recursive: true, force: true })
}
