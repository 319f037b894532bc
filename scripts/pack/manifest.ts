import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** The package.json of a workspace, or of a package that is published from one. */
export interface Manifest {
  name: string
  version?: string
  private?: boolean
  license?: string
  homepage?: string
  exports?: Record<string, string | { types: string; default: string }>
  dependencies?: Record<string, string>
  devDependencies?: Record<string, string>
  peerDependencies?: Record<string, string>
  /** Only packages that are published have it. `exports` replaces the workspace's own. */
  publishConfig?: { access: string; provenance: boolean; exports?: Record<string, string> }
  [field: string]: unknown
}

export interface PublishedPackage {
  /** Its folder below `packages`. */
  folder: string
  /** As in the workspace. */
  manifest: Manifest
  /** Subpath → source file. */
  entries: Record<string, string>
}

/** Version, address and licence of every package: fields of one package.json. */
export type Project = Required<Pick<Manifest, 'version' | 'homepage' | 'license'>> & { engines: unknown }

export function readManifest(root: string, folder: string): Manifest {
  return JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'))
}

export function readProject(root: string): Project {
  const { version, homepage, license, engines } = readManifest(root, 'packages/kit')
  if (!version || !homepage || !license || !engines) {
    throw new Error('packages/kit/package.json must have version, homepage, license and engines')
  }
  return { version, homepage, license, engines }
}

/** Every package that is published, each after those that it imports. */
export function publishedPackages(root: string): PublishedPackage[] {
  const all = readdirSync(join(root, 'packages'))
    .map((folder) => ({ folder, manifest: readManifest(root, join('packages', folder)) }))
    .filter(({ manifest }) => manifest.publishConfig)
    .map(({ folder, manifest }) => ({
      folder,
      manifest,
      entries: (manifest.publishConfig?.exports ?? manifest.exports) as Record<string, string>,
    }))
  const ordered: PublishedPackage[] = []
  const add = (one: PublishedPackage) => {
    if (ordered.includes(one)) return
    const needed = { ...one.manifest.dependencies, ...one.manifest.peerDependencies }
    for (const other of all) if (other.manifest.name in needed) add(other)
    ordered.push(one)
  }
  for (const one of all) add(one)
  return ordered
}

/** The package.json that is published: compiled files, real versions, and nothing that only the repository needs. */
export function publishedManifest({ folder, manifest, entries }: PublishedPackage, project: Project): Manifest {
  const { private: _, devDependencies: __, scripts: ___, publishConfig, exports: ____, ...rest } = manifest
  const { homepage, ...shared } = project
  const ranges = (list: Record<string, string> | undefined) =>
    list &&
    Object.fromEntries(
      Object.entries(list).map(([name, range]) => [name, range === '*' ? `^${project.version}` : range]),
    )
  return {
    ...rest,
    ...shared,
    homepage,
    repository: { type: 'git', url: `git+${homepage}.git`, directory: `packages/${folder}` },
    bugs: { url: `${homepage}/issues` },
    type: 'module',
    sideEffects: false,
    files: ['dist', 'src'],
    exports: {
      ...Object.fromEntries(Object.entries(entries).map(([subpath, file]) => [subpath, compiled(file)])),
      './package.json': './package.json' as never,
    },
    dependencies: ranges(manifest.dependencies),
    peerDependencies: ranges(manifest.peerDependencies),
    publishConfig: { access: publishConfig?.access ?? 'public', provenance: publishConfig?.provenance ?? true },
  }
}

/** `./src/locks/redis.ts` → the files that `tsc` makes of it. */
function compiled(file: string): { types: string; default: string } {
  const path = file.replace(/^\.\/src\//, './dist/').replace(/\.ts$/, '')
  return { types: `${path}.d.ts`, default: `${path}.js` }
}
