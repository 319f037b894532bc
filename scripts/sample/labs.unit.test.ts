import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { foldersOfLabs, labsOfSample } from './labs.ts'

const root = join(import.meta.dirname, '../..')
const words =
  /\/v1\/(shows|orders|cart|reports)|ticket|shop\b|sales_reports|\b(from|into|update|table) (shows|orders)\b/i

/** Whether the code, comments aside, names a route, a table or a word of the shop's. */
function namesTheShop(lab: string): boolean {
  const files = readdirSync(join(root, 'labs', lab)).filter((name) => name.endsWith('.ts'))
  const code = files.map((name) => readFileSync(join(root, 'labs', lab, name), 'utf8')).join('\n')
  return words.test(code.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, ''))
}

test('a lab that names the shop says `sample: true`, and no other does', () => {
  expect(labsOfSample(root)).toEqual(foldersOfLabs(root).filter(namesTheShop))
})
