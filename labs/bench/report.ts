import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { type Budget, type Cost, isWithin, judge, type Row, type Section } from './rows.ts'
import type { Stage } from './stage.ts'

/** Everything that one run says, and what `--json` writes. */
export interface Report {
  machine: string
  versions: string
  quick: boolean
  /** The version that was compared with. */
  beside?: string
  seconds: number
  sections: Section[]
}

export function describeMachine(): string {
  return `${availableParallelism()} cores (${cpus()[0]?.model.trim() ?? 'unknown'})`
}

export function describeVersions({ binaries: { postgres, redis, nginx } }: Pick<Stage, 'binaries'>): string {
  return `Postgres ${postgres.version}, Redis ${redis.version}, NGINX ${nginx.version}, Node ${process.versions.node}`
}

/** Its version, and its commit where it has one. */
export function describeCheckout(folder: string): string {
  const { version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string }
  try {
    const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: folder, stdio: 'pipe' })
      .toString()
      .trim()
    return `${version} (${commit})`
  } catch {
    return version // no checkout of git, or there is no git
  }
}

/** Says so when other programs use the machine, which the figures will show. */
export function warnOfOthers(load = loadavg()[0] ?? 0, cores = availableParallelism()): string | undefined {
  if (load < cores / 4) return undefined
  return `the machine is busy (load average ${load.toFixed(1)} on ${cores} cores): expect wide ranges, and quote nothing`
}

export function showSection({ measure, title, rows, costs }: Section): string {
  return [`\n${measure} · ${title}`, ...(costs ? showCosts(costs) : []), ...rows.map(showRow)].join('\n')
}

/** The last lines of a run. */
export function showEnd({ seconds, sections }: Pick<Report, 'seconds' | 'sections'>): string {
  const { held, missed, unmeasured } = judge(sections)
  const rest = unmeasured > 0 ? `; ${unmeasured} not measured` : ''
  const time = `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`
  return `\n${held} of ${held + missed} budgets hold${rest} (${time})`
}

export function showRow(row: Row): string {
  const { what, value, budget, note } = row
  const within = isWithin(row)
  const mark = within === undefined ? ' ' : within ? '✓' : '✗'
  const shown = value === undefined ? 'not measured' : showValue(value)
  const end = [budget && showBudget(budget), note && `(${note})`].filter(Boolean).join(' ')
  return `  ${mark} ${what.padEnd(58)} ${shown.padEnd(24)} ${end}`.trimEnd()
}

export function showValue({ median, least, most, count }: NonNullable<Row['value']>): string {
  const digits = [median, least, most].every(Number.isInteger) ? () => 0 : digitsOf
  const [middle, low, high] = [median, least, most].map((value) => value.toFixed(digits(value)))
  return count === 1 ? `${middle}` : `${middle} [${low} – ${high}]`
}

export function showBudget(budget: Budget): string {
  if ('atLeast' in budget) return `≥ ${budget.atLeast}`
  return 'atMost' in budget ? `≤ ${budget.atMost}` : `= ${budget.equals}`
}

function showCosts(costs: Cost[]): string[] {
  const line = (name: string, cells: string[]) =>
    `    ${name.padEnd(20)}${cells.map((cell) => cell.padStart(11)).join('')}`
  const parts = Object.keys(costs[0]?.parts ?? {})
  return [
    '    microseconds of processor time for each request, medians',
    line('', [...parts, 'sum', 'requests/s']),
    ...costs.map(({ variant, parts: of, sum, perSecond }) =>
      line(
        variant,
        [...parts.map((part) => of[part] ?? 0), sum, perSecond].map((value) => value.toFixed(0)),
      ),
    ),
  ]
}

/** So that three digits count, and no more of a large number than its whole. */
function digitsOf(value: number): number {
  if (Math.abs(value) >= 100) return 0
  if (Math.abs(value) >= 10) return 1
  return Math.abs(value) >= 0.1 ? 2 : 3
}
