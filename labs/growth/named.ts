import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '../..')

/** The names of all statements in the product's code: `{ name: '…', text: … }`. Those whose name is put together are found by running them. */
export function namedStatements(): string[] {
  const files = ['packages', 'apps'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((file) => /\/src\/.*\.ts$/.test(file) && !/node_modules|\.(test|contract)\.ts$|^testing\//.test(file))
      .map((file) => join(root, folder, file)),
  )
  const statement = /\bname: '([\w.-]+)',\s*(?:\/\/[^\n]*\s*)*(?:shared: true,\s*)?(?:\/\/[^\n]*\s*)*text:/g
  return files.flatMap((file) => [...readFileSync(file, 'utf8').matchAll(statement)].map(([, name = '']) => name))
}
