import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

/** The checkout as it is, committed or not, in a folder of its own that is removed at the end. Packages are linked, not copied. */
export function copyCheckout(from: string): { root: string } & Disposable {
  const root = mkdtempSync(join(tmpdir(), 'escala-copy-'))
  const list = spawnSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: from,
    encoding: 'utf8',
  })
  for (const path of list.stdout.split('\0')) {
    if (path === '' || !existsSync(join(from, path))) continue
    mkdirSync(dirname(join(root, path)), { recursive: true })
    cpSync(join(from, path), join(root, path))
  }
  // Biome learns from git which files to leave out.
  spawnSync('git', ['init', '--quiet'], { cwd: root })
  mkdirSync(join(root, 'node_modules/@escala'), { recursive: true })
  for (const name of readdirSync(join(from, 'node_modules'))) {
    if (name !== '@escala') symlinkSync(join(from, 'node_modules', name), join(root, 'node_modules', name))
  }
  const groups = ['packages', 'apps', 'examples'].filter((group) => existsSync(join(root, group)))
  for (const workspace of groups.flatMap((group) => readdirSync(join(root, group)).map((name) => `${group}/${name}`))) {
    const own = join(from, workspace, 'node_modules')
    if (existsSync(own)) symlinkSync(own, join(root, workspace, 'node_modules'))
  }
  // The workspaces' links are relative: here they lead to the copies.
  for (const name of readdirSync(join(from, 'node_modules/@escala'))) {
    symlinkSync(readlinkSync(join(from, 'node_modules/@escala', name)), join(root, 'node_modules/@escala', name))
  }
  return { root, [Symbol.dispose]: () => rmSync(root, { recursive: true, force: true }) }
}
