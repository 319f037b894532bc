import { type Summary, summarize } from './summary.ts'

export type Budget = { atLeast: number } | { atMost: number } | { equals: number }

/** One line of what the bench prints. */
export interface Row {
  what: string
  /** `undefined`: not measured; `note` says why. */
  value?: Summary
  /** The median is held to it. */
  budget?: Budget
  note?: string
}

/** Microseconds of processor time for each request, by program; and requests a second. Medians. */
export interface Cost {
  variant: string
  parts: Record<string, number>
  sum: number
  perSecond: number
}

/** What one measure has found. */
export interface Section {
  measure: string
  title: string
  rows: Row[]
  costs?: Cost[]
}

/** Makes a row of what was measured in each round. Of nothing it makes one that was not measured. */
export function toRow(what: string, values: number[], { budget, note }: Pick<Row, 'budget' | 'note'> = {}): Row {
  const value = summarize(values)
  return { what, value, budget, note: value ? note : (note ?? 'no round could be measured') }
}

export function notMeasured(what: string, note: string, budget?: Budget): Row {
  return { what, budget, note }
}

/** Whether the row is within its budget; `undefined` when it has none, or was not measured. */
export function isWithin({ value, budget }: Row): boolean | undefined {
  if (value === undefined || budget === undefined) return undefined
  if ('atLeast' in budget) return value.median >= budget.atLeast
  if ('atMost' in budget) return value.median <= budget.atMost
  return value.least === budget.equals && value.most === budget.equals
}

export interface Verdict {
  held: number
  missed: number
  unmeasured: number
}

export function judge(sections: Section[]): Verdict {
  const budgeted = sections.flatMap(({ rows }) => rows).filter(({ budget }) => budget !== undefined)
  const verdicts = budgeted.map(isWithin)
  const count = (wanted: boolean | undefined) => verdicts.filter((verdict) => verdict === wanted).length
  return { held: count(true), missed: count(false), unmeasured: count(undefined) }
}
