import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Report, showBudget, showEnd, showSection, showValue } from './report.ts'
import { isWithin, judge, type Row, type Section } from './rows.ts'
import { summarize } from './summary.ts'

// node scripts/run.mjs labs/bench/page.ts RUN.json …
//
// What whole runs of the bench have written with --json, as it stands in docs/performance.md: the medians of all runs, two
// charts, and the output of the last one.

const [begin, end] = ['<!-- figures: written by labs/bench/page.ts -->', '<!-- /figures -->']

/** Takes the medians of several runs together. What must equal a value must do so in each round of each run. */
export function combine(reports: Report[]): Section[] {
  const last = reports.at(-1)
  return (last?.sections ?? []).map((section) => ({
    ...section,
    rows: section.rows.map((row) => {
      const values = reports.flatMap((report) => {
        const { value } = find(report, section.measure, row.what) ?? {}
        if (value === undefined) return []
        return row.budget && 'equals' in row.budget ? [value.least, value.most] : [value.median]
      })
      return { ...row, value: summarize(values) }
    }),
  }))
}

export function writeFigures(page: string, reports: Report[]): string {
  const [before, rest] = page.split(begin)
  const [, after] = rest?.split(end) ?? []
  if (after === undefined) throw new Error(`the page has no ${begin} … ${end}`)
  // The sample's figures go with the sample.
  return `${before}${begin}\n<!-- sample -->\n\n${figures(reports)}\n\n<!-- /sample -->\n${end}${after}`
}

function figures(reports: Report[]): string {
  const last = reports.at(-1)
  if (last === undefined) throw new Error('usage: node scripts/run.mjs labs/bench/page.ts RUN.json …')
  const sections = combine(reports)
  const { held, missed, unmeasured } = judge(sections)
  const runs = reports.length === 1 ? 'One run' : `The medians of ${reports.length} runs [least – most]`
  const compared = last.beside ? `, beside version ${last.beside}` : ''
  return [
    `${runs} on ${last.machine}${compared}; ${last.versions}. ${held} of ${held + missed} budgets hold${unmeasured ? `; ${unmeasured} not measured` : ''}.`,
    table(sections),
    ...bars('Requests a second for one row, in percent of bare Express', readChart(reports)),
    ...bars('Orders a second on one row, 30 in flight', saleChart(sections)),
    `The output of the last run:\n\n\`\`\`\n$ npm run bench\n${output(last)}\n\`\`\``,
  ].join('\n\n')
}

function output({ versions, machine, sections, seconds }: Report): string {
  return [`${versions}; ${machine}`, ...sections.map(showSection), showEnd({ sections, seconds })].join('\n')
}

function table(sections: Section[]): string {
  const rows = sections.flatMap(({ measure, rows }) => rows.map((row) => line(measure, row)))
  return ['| measure | what | median | budget | |', '|---|---|---|---|---|', ...rows].join('\n')
}

function line(measure: string, row: Row): string {
  const within = isWithin(row)
  const mark = within === undefined ? '' : within ? '✓' : '✗'
  const value = row.value ? showValue(row.value) : 'not measured'
  return `| ${measure} | ${row.what} | ${value} | ${row.budget ? showBudget(row.budget) : ''} | ${mark} |`
}

type Bars = [name: string, value: number][]

function readChart(reports: Report[]): Bars {
  const costs = reports.map(({ sections }) => sections.find(({ measure }) => measure === 'read')?.costs ?? [])
  return (costs.at(-1) ?? []).map(({ variant }) => {
    const percent = costs.flatMap((run) => {
      const [bare, own] = ['bare', variant].map((name) => run.find((cost) => cost.variant === name)?.perSecond)
      return bare && own ? [(100 * own) / bare] : []
    })
    return [variant, summarize(percent)?.median ?? 0]
  })
}

function saleChart(sections: Section[]): Bars {
  const prefix = 'orders a second, '
  const rows = sections.find(({ measure }) => measure === 'hot-row')?.rows ?? []
  return rows.flatMap(({ what, value }) =>
    what.startsWith(prefix) && value ? [[what.slice(prefix.length), value.median] as Bars[0]] : [],
  )
}

/** None of nothing: Mermaid draws no empty chart. */
function bars(title: string, values: Bars): string[] {
  if (values.length === 0) return []
  const most = Math.max(1, ...values.map(([, value]) => value))
  const lines = [
    '```mermaid',
    'xychart-beta horizontal',
    `  title "${title}"`,
    `  x-axis [${values.map(([name]) => `"${name}"`).join(', ')}]`,
    `  y-axis 0 --> ${Math.ceil(most + most / 10)}`,
    `  bar [${values.map(([, value]) => value.toFixed(0)).join(', ')}]`,
    '```',
  ]
  return [lines.join('\n')]
}

function find({ sections }: Report, measure: string, what: string): Row | undefined {
  return sections.find((section) => section.measure === measure)?.rows.find((row) => row.what === what)
}

if (import.meta.main) {
  const page = join(import.meta.dirname, '../../docs/performance.md')
  const reports = process.argv.slice(2).map((file) => JSON.parse(readFileSync(file, 'utf8')) as Report)
  writeFileSync(page, writeFigures(readFileSync(page, 'utf8'), reports))
}
