import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../..')
/** What was released: the last commit of each version. */
const releases = { '0.1.0': '30e882b314' }

export interface Checkout extends Disposable {
  version: string
  folder: string
}

/** Checks a released version out of this repository's history, and installs the packages that its own lock file names. */
export function checkOutRelease(version: keyof typeof releases): Checkout {
  const commit = releases[version]
  if (spawnSync('git', ['cat-file', '-e', `${commit}^{commit}`], { cwd: root }).status !== 0)
    throw new Error(`Version ${version} (${commit}) is not in this clone's history: git fetch --unshallow`)
  const folder = mkdtempSync(join(tmpdir(), `escala-${version}-`))
  const remove = () => rmSync(folder, { recursive: true, force: true })
  try {
    const archive = join(folder, 'release.tar') // not a pipe: of a pipe, only the last program's failure is seen
    run('git', ['archive', '--output', archive, commit], root)
    run('tar', ['-x', '-f', archive, '-C', folder], root)
    rmSync(archive)
    // Types, linters and the like are not needed to run it; the install script of a package is not either.
    run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], folder)
  } catch (error) {
    remove()
    throw error
  }
  return { version, folder, [Symbol.dispose]: remove }
}

function run(command: string, args: string[], cwd: string): void {
  const { status, stderr } = spawnSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'ignore', 'pipe'] })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed in ${cwd}:\n${stderr}`)
}
