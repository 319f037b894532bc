import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'

/**
 * Compiles what the guides show: each block that begins with three backticks, `ts` and a file's name is that file of a module of its own.
 * Pages that build on each other are followed by a test instead.
 */
const root = join(import.meta.dirname, '..')
const pages = ['streams', 'webhooks', 'background-work', 'uploads'].filter((page) =>
  existsSync(join(root, `docs/guides/${page}.md`)),
)
const folder = join(root, 'node_modules/.cache/guides')

rmSync(folder, { recursive: true, force: true })
const files: string[] = []
for (const page of pages) {
  const text = readFileSync(join(root, `docs/guides/${page}.md`), 'utf8')
  const blocks = [...text.matchAll(/^```ts ?(\S*)\n([\s\S]*?)^```$/gm)]
  for (const [, name = '', code = ''] of blocks) {
    if (name === '') throw new Error(`docs/guides/${page}.md: a block of TypeScript names no file`)
    const file = join(folder, page, name)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, code)
    files.push(file)
  }
}
const config = join(folder, 'tsconfig.json')
const extend = relative(folder, join(root, 'tsconfig.json'))
const typeRoots = [relative(folder, join(root, 'node_modules/@types'))]
writeFileSync(config, JSON.stringify({ extends: extend, compilerOptions: { typeRoots }, include: [], files }))
const { status } = spawnSync(join(root, 'node_modules/.bin/tsc'), ['-p', config], { stdio: 'inherit' })
console.log(`guides: ${files.length} blocks of ${pages.length} pages`)
process.exit(status === 0 && files.length > 0 ? 0 : 1)
