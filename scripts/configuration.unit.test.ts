import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { apiSettings } from '../apps/api/src/config.ts'
import { apiModules } from '../apps/api/src/modules.ts'
import { workerSettings } from '../apps/worker/src/config.ts'
import { workerModules } from '../apps/worker/src/modules.ts'

const page = readFileSync(new URL('../docs/configuration.md', import.meta.url), 'utf8')
const rows = [...page.matchAll(/^\| `([A-Z0-9_]+)` \| ?(.*?) ?\| /gm)].map(([, name = '', standard = '']) => ({
  name,
  standard,
}))
const settings = Object.assign(
  {},
  apiSettings,
  workerSettings,
  ...[...apiModules, ...workerModules].map((module) => module.settings),
)
// Depend on the machine, on another variable, or on NGINX: described in words, and checked by other tests.
const inWords = ['REPLICA_ID', 'INTERNAL_PORT', 'CONNECTIONS_PER_ADDRESS']

test.each(rows.filter(({ name }) => !inWords.includes(name)))('$name: $standard', ({ name, standard }) => {
  const { success, data } = settings[name].safeParse(undefined)
  const value = typeof data === 'boolean' ? String(Number(data)) : String(data)
  if (!success) expect(standard).toBe('required')
  else if (data === undefined)
    expect(standard).not.toMatch(/^(`\d|required)/) // none, or another variable's
  else expect(standard).toBe(`\`${value}\``)
})
