import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { expect, test } from 'vitest'
import { apiSettings } from '../apps/api/src/config.ts'
import { apiModules } from '../apps/api/src/modules.ts'
import { workerSettings } from '../apps/worker/src/config.ts'
import { workerModules } from '../apps/worker/src/modules.ts'

const docs = resolve(import.meta.dirname, '../docs')
const template = resolve(docs, '../infra/nginx/escala.conf.template')

interface Row {
  name: string
  value: string
  /** Absolute. */
  file: string
}

const rows = [
  ...readFileSync(join(docs, 'limits.md'), 'utf8').matchAll(
    /^\|[^|]*\| `(\w+)` \| `([^`]+)`[^|]*\| \[[^\]]+\]\(([^)]+)\) \|/gm,
  ),
].map(([, name = '', value = '', link = '']): Row => ({ name, value, file: resolve(docs, link) }))

const settings = Object.assign(
  {},
  apiSettings,
  workerSettings,
  ...[...apiModules, ...workerModules].map((module) => module.settings),
)

/** What a variable is when it is not set; `undefined` for one whose default is computed, and for other names. */
function defaultOf(name: string): unknown {
  const parsed = settings[name]?.safeParse(undefined)
  return parsed?.success ? parsed.data : undefined
}

/** The value that the linked file gives to a name: a directive of NGINX, a default of compose, a constant, a default, or the maximum of a schema. */
function valueIn(file: string, name: string): string | undefined {
  const text = readFileSync(file, 'utf8')
  if (file.endsWith('.template') || file.endsWith('.conf')) {
    return new RegExp(`^\\s*(?:limit_conn )?${name} ([^;]+);`, 'm').exec(text)?.[1]
  }
  if (file.endsWith('.yml')) return new RegExp(`\\$\\{${name}:-([^}]*)\\}`).exec(text)?.[1]
  const number = String.raw`(\d[\d_]*(?: \*{1,2} \d[\d_]*)*)`
  const assigned = new RegExp(
    String.raw`\b${name}\b\)?(?:\s*[=:]|\s*\?\?|\s*\|\|) ${number}(?=\s*(?:[,;)}\n]|//))`,
  ).exec(text)?.[1]
  if (assigned !== undefined) return String(product(assigned))
  const quoted = new RegExp(String.raw`\b${name}\b\s*[=:] '([^']+)'`).exec(text)?.[1]
  if (quoted !== undefined) return quoted
  const largest = new RegExp(String.raw`\b${name}: z\.[^\n]*?\.max\((\d[\d_]*)\)`).exec(text)?.[1]
  if (largest !== undefined) return String(product(largest))
  return new RegExp(String.raw`\b${name}(?: \?\?|:) (?!number)([^,\n]+?)(?=,|\n| \})`).exec(text)?.[1] // computed
}

/** `2 * 1024 ** 2`, as a number. */
function product(text: string): number {
  return text
    .replaceAll('_', '')
    .split(/ \* /)
    .map((factor) => factor.split(' ** ').map(Number))
    .reduce((result, [base = 0, exponent = 1]) => result * base ** exponent, 1)
}

test.each(rows)('$name in $file', ({ name, value, file }) => {
  expect(existsSync(file)).toBe(true)
  expect(String(defaultOf(name) ?? valueIn(file, name))).toBe(value)
})

test('every number that can be set, and every bound of NGINX, is in the table', () => {
  const listed = new Set(rows.map(({ name }) => name))
  const other = ['PORT', 'INTERNAL_PORT', 'TRUST_PROXY', 'OTEL_TRACES_SAMPLER_ARG'] // numbers, and no bounds
  const numbers = Object.keys(settings).filter((name) => typeof defaultOf(name) === 'number' && !other.includes(name))
  const directives = [
    ...readFileSync(template, 'utf8').matchAll(
      /^\s*(\w*(?:timeout|connections|max_\w+|buffers|buffer_size|tries|nofile|limit_\w+)|keepalive) /gm,
    ),
  ].map(([, name = '']) => name)
  const parts = ['limit_conn', 'limit_conn_zone', 'limit_conn_status', 'limit_conn_log_level'] // of CONNECTIONS_PER_ADDRESS and `uploads`
  expect([...numbers, ...directives].filter((name) => !listed.has(name) && !parts.includes(name))).toEqual([])
})
