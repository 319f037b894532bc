import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { UsageError } from '../program.ts'

export interface Options {
  /** Names of measures. */
  chosen: string[]
  quick: boolean
  help: boolean
  /** Absolute. */
  beside?: string
  json?: string
}

export function usage(names: string[]): string {
  return `usage: npm run bench [-- OPTIONS] [MEASURE …]
  --beside FOLDER   compares with another version: a checkout of it with its node_modules
                    (git worktree add FOLDER TAG && cd FOLDER && npm ci)
  --json FILE       writes all results there
  --quick           a first look: shorter, and no figure to quote
measures, by default all: ${names.join(', ')}`
}

/** Throws a `UsageError` for what it does not know. */
export function readOptions(args: string[], names: string[], cwd = process.cwd()): Options {
  const { values, positionals } = parse(args, usage(names))
  const unknown = positionals.filter((name) => !names.includes(name))
  if (unknown.length > 0) throw new UsageError(`there is no measure ${unknown.join(', ')}\n${usage(names)}`)
  const { quick, help, beside, json } = values
  const folder = beside === undefined ? undefined : resolve(cwd, beside)
  if (
    folder !== undefined &&
    !['apps/api/src/main.ts', 'node_modules'].every((path) => existsSync(join(folder, path)))
  ) {
    throw new UsageError(`--beside ${beside}: no checkout with its node_modules`)
  }
  return {
    chosen: positionals.length > 0 ? names.filter((name) => positionals.includes(name)) : names,
    quick,
    help,
    beside: folder,
    json: json === undefined ? undefined : resolve(cwd, json),
  }
}

function parse(args: string[], usage: string) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        quick: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
        beside: { type: 'string' },
        json: { type: 'string' },
      },
    })
  } catch (error) {
    throw new UsageError(`${error instanceof Error ? error.message : error}\n${usage}`)
  }
}
