import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Long tests of the shop: they are no labs, and have no `defineLab` that could say so. */
const tools = ['endurance', 'fuzz', 'growth', 'upgrade']

/** The folders of `labs` that need the shop: each lab says so with `sample: true`. */
export function labsOfSample(root: string): string[] {
  return foldersOfLabs(root).filter((lab) => {
    const scenario = join(root, 'labs', lab, 'scenario.ts')
    return tools.includes(lab) || (existsSync(scenario) && /^ {2}sample: true,$/m.test(readFileSync(scenario, 'utf8')))
  })
}

export function foldersOfLabs(root: string): string[] {
  const entries = readdirSync(join(root, 'labs'), { withFileTypes: true })
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name)
}
