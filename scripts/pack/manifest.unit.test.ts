import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type PublishedPackage, publishedManifest, publishedPackages, readManifest, readProject } from './manifest.ts'

const root = join(import.meta.dirname, '../..')
const published = publishedPackages(root)
const byName = published.map((one): [string, PublishedPackage] => [one.manifest.name, one])
const named = (name: string) => published.find(({ manifest }) => manifest.name === name) as PublishedPackage

/** `src/locks/locks.contract.ts` → `./locks/contract`, `src/locks/redis.ts` → `./locks/redis`. */
function subpath(file: string): string {
  const path = file.replace(/^\.\/src\//, '').replace(/\.ts$/, '')
  const [, folder, name] = /^(.+)\/([^/]+)\.contract$/.exec(path) ?? []
  if (!folder) return `./${path}`
  return folder.endsWith(name as string) ? `./${folder}/contract` : `./${folder}/${name}/contract`
}

test.each(byName)('the exports of %s are named after their files, in order', (_, { folder, entries }) => {
  for (const [name, file] of Object.entries(entries)) {
    expect(name).toBe(subpath(file))
    expect(existsSync(join(root, 'packages', folder, file)), file).toBe(true)
    expect(file).not.toMatch(/\.test\.ts$|naive/)
  }
  expect(Object.keys(entries)).toEqual(Object.keys(entries).sort())
})

test('the kit exports every contract suite and every adapter in memory', () => {
  const files = readdirSync(join(root, 'packages/kit/src'), { recursive: true, encoding: 'utf8' })
    .filter((path) => /(\.contract|\/memory(-schedules)?)\.ts$/.test(path))
    .map((path) => `./src/${path}`)
  expect(files.length).toBeGreaterThan(20)
  const { entries } = named('@escala/kit')
  expect(files.filter((file) => !Object.values(entries).includes(file))).toEqual([])
})

test('version, address and engines are fields of one package.json', () => {
  const others = [
    '.',
    ...['apps', 'packages'].flatMap((folder) =>
      readdirSync(join(root, folder), { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map((entry) => `${folder}/${entry.name}`),
    ),
  ].filter((folder) => folder !== 'packages/kit' && existsSync(join(root, folder, 'package.json')))
  expect(others.filter((folder) => readManifest(root, folder).version)).toEqual([])
  expect(others.filter((folder) => readManifest(root, folder).homepage)).toEqual([])
})

test('what is published says where it comes from, and nothing of the repository', () => {
  const project = readProject(root)
  const accounts = named('@escala/accounts')
  const manifest = publishedManifest(accounts, { ...project, version: '4.5.6', homepage: 'https://example.com/a/b' })
  expect(accounts.manifest.private).toBe(true) // what is in the repository can never be published as it is
  expect(manifest).toMatchObject({
    name: '@escala/accounts',
    version: '4.5.6',
    license: 'MIT',
    type: 'module',
    sideEffects: false,
    engines: { node: '^22.18.0 || >=24.0.0' },
    repository: { type: 'git', url: 'git+https://example.com/a/b.git', directory: 'packages/accounts' },
    peerDependencies: { '@escala/kit': '^4.5.6' },
    publishConfig: { access: 'public', provenance: true },
  })
  expect(manifest.exports).toMatchObject({ './api': { types: './dist/api.d.ts', default: './dist/api.js' } })
  for (const field of ['private', 'devDependencies', 'scripts']) expect(manifest).not.toHaveProperty(field)
})

test('every client of the kit is optional: a capability may not need it', () => {
  const { manifest } = named('@escala/kit')
  expect(Object.keys(manifest.peerDependenciesMeta as object)).toEqual(Object.keys(manifest.peerDependencies as object))
})
