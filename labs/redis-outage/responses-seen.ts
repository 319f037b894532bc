import type { ClientAnswer } from '@escala/testing/client'
import { matrix, type State } from './matrix.ts'

export interface Seen {
  add(route: string, answer: ClientAnswer, ms: number): void
  /** What was answered otherwise than the matrix says, or `none`. */
  unexpected(state: State): string
  /** Duration of the slowest route. */
  p99Ms(): number
  /** Statuses of a route and its p99. */
  tell(route: string): string
}

/** What the routes answered during one outage. */
export function createSeen(): Seen {
  const routes = new Map<string, { answers: Set<string>; times: number[] }>()
  const p99 = (times: number[]) => times.sort((a, b) => a - b)[Math.ceil(times.length * 0.99) - 1] ?? 0
  return {
    add(route, answer, ms) {
      const seen = routes.get(route) ?? { answers: new Set(), times: [] }
      routes.set(route, seen)
      seen.answers.add(told(answer))
      seen.times.push(ms)
    },
    unexpected(state) {
      const problems = Object.entries(matrix).flatMap(([route, expected]) => {
        const right = expected[state].split('|')
        const wrong = [...(routes.get(route)?.answers ?? ['not asked'])].filter((answer) => !right.includes(answer))
        return wrong.length > 0 ? [`${route}: ${wrong.join(', ')}`] : []
      })
      return problems.join('; ') || 'none'
    },
    p99Ms: () => Math.max(...[...routes.values()].map(({ times }) => p99(times))),
    tell(route) {
      const { answers, times } = routes.get(route) ?? { answers: [], times: [] }
      return `${[...answers].sort().join('|')} ${Math.ceil(p99(times))} ms`
    },
  }
}

/** The status; and the code where it is not the one that an outage of Redis has. */
function told({ status, body, error }: ClientAnswer): string {
  const code = body?.code === 'E_REDIS_UNAVAILABLE' && status === 503 ? undefined : (error ?? body?.code)
  return [status, status >= 500 || status === 0 ? (code ?? (status === 503 ? undefined : '?')) : undefined]
    .filter((part) => part !== undefined)
    .join(' ')
}

/** A row for each route, a column for each outage: what was answered, and the p99. */
export function matrixTable(outages: Record<string, Seen>): string {
  const rows = [
    ['', ...Object.keys(outages)],
    ...Object.keys(matrix).map((route) => [route, ...Object.values(outages).map((seen) => seen.tell(route))]),
  ]
  const widths = rows[0]?.map((_, at) => Math.max(...rows.map((row) => row[at]?.length ?? 0))) ?? []
  return rows
    .map((row) =>
      row
        .map((text, at) => text.padEnd(widths[at] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
