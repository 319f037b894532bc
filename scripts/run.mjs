// The entry of every npm script: plain JavaScript without dependencies, so that it runs on a fresh clone and any Node.js
// from 20. Installs what is missing, then goes on under the pinned Node 24.
//   node scripts/run.mjs [--env | --local] FILE.ts …
//   node scripts/run.mjs TOOL …                  a tool of node_modules/.bin
// `--env`: variables that the shell does not set come from the file `.env` of this checkout.
// `--local`: the same, but what the `npm start` or `npm run dev` of this checkout runs with goes before the file.
import { spawn, spawnSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const modules = join(root, 'node_modules')
const node = join(modules, '.bin', 'node')

if (Number(process.versions.node.split('.')[0]) < 20) {
  fail(`Escala needs Node.js 20 or newer to begin with (this is ${process.versions.node}). See https://nodejs.org`)
}
if (process.platform === 'win32')
  fail('On Windows, run this inside WSL2: https://learn.microsoft.com/windows/wsl/install')

const mode = ['--env', '--local'].find((flag) => flag === process.argv[2])
const [command, ...args] = process.argv.slice(mode ? 3 : 2)
if (command === undefined) fail('usage: node scripts/run.mjs [--env | --local] FILE.ts|TOOL [ARGUMENT …]')

if (!isInstalled()) install()

const [program, ...first] = command.endsWith('.ts')
  ? [node, ...(mode ? [`--env-file-if-exists=${join(root, '.env')}`] : []), resolve(root, command)]
  : toolEntry(command)
const child = spawn(program, [...first, ...args], {
  cwd: root,
  stdio: 'inherit',
  env: {
    ...(mode === '--local' ? ofRunning() : {}),
    ...process.env,
    PATH: `${join(modules, '.bin')}:${process.env.PATH}`,
    ESCALA_PARENTS: parents().join(','),
  },
})
// Ctrl-C reaches the child by itself, as a member of the foreground group, and this process has to outlive it. A SIGINT
// that was sent to npm alone does not; our own programs take it twice, other tools would take the second for impatience.
process.on('SIGINT', () => command.endsWith('.ts') && child.kill('SIGINT'))
for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
child.on('error', (error) => fail(String(error)))
child.on('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 143)))

/** Where the system is that runs from this checkout; nothing when none does. */
function ofRunning() {
  if (process.env.DATABASE_URL || process.env.REDIS_URL) return {} // another system: never a mixture of two
  try {
    const file = join(process.env.ESCALA_FOLDER || join(root, '.escala'), 'running.json')
    const { pid, env, migrationUrl } = JSON.parse(readFileSync(file, 'utf8'))
    process.kill(pid, 0) // throws when it has ended without removing the file
    const { DATABASE_URL, REDIS_URL, CACHE_REDIS_URL, API_PORT } = env
    if (API_PORT === undefined) return {}
    return {
      DATABASE_URL,
      MIGRATION_DATABASE_URL: migrationUrl,
      REDIS_URL,
      CACHE_REDIS_URL,
      INTERNAL_URL: `http://127.0.0.1:${Number(API_PORT) + 1000}`,
    }
  } catch {
    return {}
  }
}

function toolEntry(name) {
  const path = join(modules, '.bin', name)
  if (!existsSync(path)) fail(`there is no ${name} in node_modules/.bin`)
  // By its shebang a script would run on the system's Node; a native program runs as it is.
  const head = Buffer.alloc(64)
  const file = openSync(path, 'r')
  readSync(file, head, 0, head.length, 0)
  closeSync(file)
  return /^#!.*\bnode\b/.test(head.toString('latin1').split('\n')[0]) ? [node, path] : [path]
}

/** npm writes node_modules/.package-lock.json last, so an interrupted install counts as none. */
function isInstalled() {
  const marker = join(modules, '.package-lock.json')
  const lock = join(root, 'package-lock.json')
  if (!existsSync(marker) || !existsSync(node)) return false
  if (statSync(marker).mtimeMs >= statSync(lock).mtimeMs) return true
  // A checkout gives the lock file a new date, also when it says the same as before.
  const installed = JSON.parse(readFileSync(marker, 'utf8')).packages
  const wanted = Object.entries(JSON.parse(readFileSync(lock, 'utf8')).packages)
  const same = wanted.every(
    ([path, entry]) =>
      !path.includes('node_modules/') || entry.optional || entry.link || installed[path]?.version === entry.version,
  )
  if (same) utimesSync(marker, new Date(), new Date())
  return same
}

function install() {
  const lock = join(root, '.escala', 'install.lock')
  mkdirSync(dirname(lock), { recursive: true })
  waitForLock(lock)
  try {
    if (isInstalled()) return
    process.stderr.write('installing dependencies (once) …\n')
    // `install` keeps what is there when only a part is missing; `ci` starts from nothing.
    const arguments_ = [existsSync(modules) ? 'install' : 'ci', '--no-audit', '--no-fund', '--loglevel=error']
    const npm = process.env.npm_execpath
    const env = { ...process.env, NODE_ENV: 'development' } // else npm leaves the development dependencies out
    const result = npm?.endsWith('.js')
      ? spawnSync(process.execPath, [npm, ...arguments_], { cwd: root, stdio: ['ignore', 2, 2], env })
      : spawnSync('npm', arguments_, { cwd: root, stdio: ['ignore', 2, 2], env })
    if (result.status !== 0) fail('the dependencies could not be installed; see above', result.status ?? 1)
    if (!existsSync(node)) fail('Node 24 is not in node_modules: the install script of the package "node" did not run')
    const marker = join(modules, '.package-lock.json')
    if (existsSync(marker)) utimesSync(marker, new Date(), new Date()) // newer than the lock file, also when nothing changed
  } finally {
    rmSync(lock, { force: true })
  }
}

/** Two commands on a fresh clone must not install at once. The lock of a process that is gone is taken over. */
function waitForLock(lock) {
  for (;;) {
    try {
      return writeFileSync(lock, String(process.pid), { flag: 'wx' })
    } catch {
      try {
        process.kill(Number(readFileSync(lock, 'utf8')) || process.pid, 0)
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500)
      } catch {
        rmSync(lock, { force: true })
      }
    }
  }
}

/** This process, its parent, and the parent's parent when a shell stands between us and npm: if one ends, so must the child. */
function parents() {
  const pids = [process.pid, process.ppid]
  if (process.env.npm_lifecycle_event !== undefined) {
    const [name, parent] = describe(process.ppid)
    if (/\b(sh|dash|bash|zsh|ash|busybox)$/.test(name)) pids.push(parent)
  }
  return pids.filter((pid) => pid > 1)
}

function describe(pid) {
  if (existsSync(`/proc/${pid}/stat`)) {
    const [, name, parent] = /\((.*)\) \S+ (\d+)/s.exec(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? []
    return [name ?? '', Number(parent)]
  }
  const answer = spawnSync('ps', ['-o', 'ppid=,comm=', '-p', String(pid)], { encoding: 'utf8' })
  const [, parent, name] = /(\d+)\s+(.*)/.exec(answer.stdout ?? '') ?? []
  return [(name ?? '').trim(), Number(parent)]
}

function fail(message, code = 1) {
  process.stderr.write(`${message}\n`)
  process.exit(code)
}
