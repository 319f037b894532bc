import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ticketsApi } from '@escala/tickets/api'
import { ticketErrors } from '@escala/tickets/errors'
import { ticketsWorker } from '@escala/tickets/worker'

export const errors = Object.keys(ticketErrors)
export const settings = [ticketsApi, ticketsWorker].flatMap((module) => Object.keys(module.settings))

// Distinguishes what is read here from English words: a list "shows" something, and values have an order.
const words = [
  ...errors,
  ...settings.filter((name) => name !== 'PAYMENTS_URL'), // the stand-ins stay
  '/v1/(shows|orders|carts?|reports)\\b',
  '\\b[\\w-]*(ticket|poster)s?\\b',
  '\\b(carts?|orders-sweep|reports-sales|sales[._]reports?)\\b',
]

/** Words of the sample, and pages that are gone, in what is left: `file:line: text`. The change log is history. */
export function remains(root: string): string[] {
  const pattern = new RegExp(words.join('|'), 'i')
  const list = spawnSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
  })
  const files = list.stdout.split('\n').filter((path) => /\.(ts|mjs|cjs|json|md|yml|sql|conf|template|sh)$/.test(path))
  return files
    .filter((path) => existsSync(join(root, path)) && !['CHANGELOG.md', 'package-lock.json'].includes(path))
    .flatMap((path) =>
      readFileSync(join(root, path), 'utf8')
        .split('\n')
        .flatMap((line, index) => {
          const page = /docs\/problems\/([a-z-]+)\.md/.exec(line)?.[1]
          const dangling = page !== undefined && !existsSync(join(root, `docs/problems/${page}.md`))
          return pattern.test(line) || dangling ? [`${path}:${index + 1}: ${line.trim()}`] : []
        }),
    )
}
