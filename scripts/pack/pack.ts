import { execFileSync } from 'node:child_process'
import { join, relative } from 'node:path'
import { readCommandLine } from '../../infra/local/command-line.ts'
import { buildPackages, builtFolder } from './build.ts'

export interface Packed {
  name: string
  version: string
  /** Path of the tarball. */
  file: string
  /** Bytes. */
  packed: number
  unpacked: number
  files: string[]
}

/** Builds and packs every published package; the tarballs are in `.escala/packages`. */
export function packPackages(root: string): Packed[] {
  return buildPackages(root).map(({ folder }) => {
    const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', builtFolder(root)]
    const [one] = Object.values(JSON.parse(execFileSync('npm', args, { cwd: folder, encoding: 'utf8' }))) as [
      {
        name: string
        version: string
        filename: string
        size: number
        unpackedSize: number
        files: { path: string }[]
      },
    ]
    return {
      name: one.name,
      version: one.version,
      file: join(builtFolder(root), one.filename),
      packed: one.size,
      unpacked: one.unpackedSize,
      files: one.files.map(({ path }) => path),
    }
  })
}

// npm run pack: the tarballs that would be published.
if (import.meta.main) {
  readCommandLine(
    'usage: npm run pack\nBuilds and packs every published package; the tarballs are in .escala/packages.',
    {},
  )
  const root = join(import.meta.dirname, '../..')
  for (const { name, version, file, packed, files } of packPackages(root)) {
    console.log(`${name}@${version}: ${relative(root, file)}, ${Math.round(packed / 1000)} kB, ${files.length} files`)
  }
}
