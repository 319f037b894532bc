import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Mutant } from './mutant.ts'

const root = join(import.meta.dirname, '..')
const slugs = readdirSync(import.meta.dirname).filter((slug) => existsSync(join(root, 'labs', slug, 'mutants.ts')))

// `npm run mutants` takes hours, and would find this out one at a time.
test.each(slugs)('what the mutants of %s remove is there', async (slug) => {
  const { mutants } = (await import(join(root, 'labs', slug, 'mutants.ts'))) as { mutants: Mutant[] }
  const counts = mutants.map(({ removed, file, from }) => [
    removed,
    readFileSync(join(root, file), 'utf8').split(from).length - 1,
  ])
  expect(counts).toEqual(mutants.map(({ removed }) => [removed, 1]))
})
