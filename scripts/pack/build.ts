import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { readCommandLine } from '../../infra/local/command-line.ts'
import { type PublishedPackage, publishedManifest, publishedPackages, readProject } from './manifest.ts'

/** Where packages are built: an ignored folder. */
export const builtFolder = (root: string) => join(root, '.escala/packages')

/**
 * Builds every published package below `.escala/packages`, file to file. Only what an export leads to is compiled. Each package
 * sees the others as a user does: by their package.json and declarations, not by their sources.
 */
export function buildPackages(root: string): { package: PublishedPackage; folder: string }[] {
  const project = readProject(root)
  const built = builtFolder(root)
  rmSync(built, { recursive: true, force: true })
  return publishedPackages(root).map((one) => {
    const folder = join(built, one.folder)
    const source = join(root, 'packages', one.folder)
    const link = join(built, 'node_modules', one.manifest.name)
    mkdirSync(folder, { recursive: true })
    mkdirSync(dirname(link), { recursive: true })
    symlinkSync(folder, link)
    cpSync(join(source, 'src'), join(folder, 'src'), { recursive: true, filter: (path) => !/\.test\.ts$/.test(path) })
    for (const [name, from] of [
      ['README.md', source],
      ['LICENSE', root],
    ] as const) {
      if (existsSync(join(from, name))) cpSync(join(from, name), join(folder, name))
    }
    writeFileSync(join(folder, 'package.json'), `${JSON.stringify(publishedManifest(one, project), null, 2)}\n`)
    const own = join(source, 'node_modules') // versions of its own, that npm did not put into the root
    if (existsSync(own)) symlinkSync(own, join(folder, 'node_modules'))
    compile(root, folder, Object.values(one.entries))
    rmSync(join(folder, 'node_modules'), { force: true })
    declareByCompiledNames(folder)
    keepWhatWasCompiled(folder)
    return { package: one, folder }
  })
}

function compile(root: string, folder: string, files: string[]): void {
  const config = join(folder, 'tsconfig.json')
  const compilerOptions = {
    noEmit: false,
    rewriteRelativeImportExtensions: true,
    allowImportingTsExtensions: true,
    declaration: true,
    declarationMap: true,
    sourceMap: true,
    stripInternal: true,
    rootDir: 'src',
    outDir: 'dist',
  }
  writeFileSync(
    config,
    JSON.stringify({ extends: join(root, 'tsconfig.json'), compilerOptions, files, include: ['src/*.d.ts'] }),
  )
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  const { status, stdout } = spawnSync(process.execPath, [tsc, '-p', config], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${folder} does not compile:\n${stdout}`)
  rmSync(config)
}

/** `tsc` leaves `.ts` in the imports of declarations, which not every reader of them resolves. */
function declareByCompiledNames(folder: string): void {
  for (const path of readdirSync(join(folder, 'dist'), { recursive: true, encoding: 'utf8' })) {
    if (!path.endsWith('.d.ts')) continue
    const file = join(folder, 'dist', path)
    const text = readFileSync(file, 'utf8')
    writeFileSync(file, text.replace(/(['"]\.{1,2}\/[^'"\n]+)\.ts(?=['"])/g, '$1.js'))
  }
}

/** Removes sources that no export leads to; what is not TypeScript (SQL) goes to where the compiled files look for it. */
function keepWhatWasCompiled(folder: string): void {
  for (const path of readdirSync(join(folder, 'src'), { recursive: true, encoding: 'utf8' })) {
    const file = join(folder, 'src', path)
    const target = join(folder, 'dist', path)
    if (path.endsWith('.ts')) {
      if (!existsSync(target.replace(/\.ts$/, '.js'))) rmSync(file)
    } else if (/\.\w+$/.test(path)) {
      mkdirSync(dirname(target), { recursive: true })
      cpSync(file, target)
    }
  }
}

// npm run build: what would be published, below .escala/packages.
if (import.meta.main) {
  readCommandLine('usage: npm run build\nBuilds what would be published, below .escala/packages.', {})
  const root = join(import.meta.dirname, '../..')
  for (const { package: one, folder } of buildPackages(root)) {
    console.log(`${one.manifest.name}: ${relative(root, folder)}`)
  }
}
