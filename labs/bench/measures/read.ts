import { type Measure, needsBefore } from '../measure.ts'
import { ask, costsOf, cpuSum, measureRounds, perSecond, type Variant } from '../rounds.ts'
import { notMeasured, type Row, toRow } from '../rows.ts'
import { countSystemCalls } from '../system-calls.ts'

const paths = ['/v1/session']
const connections = 32

/** One row for a user who is logged in: what every request of the API costs, and little else. */
export const read: Measure = {
  name: 'read',
  title: `GET /v1/session: one row for a user who is logged in, ${connections} connections`,
  async run({ cast, size, signal, beside }) {
    const variants: Variant[] = []
    for (const name of ['bare', 'pipelined', 'kit', 'naive', 'before'] as const) {
      const actor = await cast[name]()
      if (actor) variants.push({ name, actor, paths, connections })
    }
    const seen = await measureRounds(variants, { ...size, signal })
    const rows = [
      toRow('requests a second, kit to bare', seen.ratios('kit', 'bare', perSecond), { budget: { atLeast: 0.85 } }),
      toRow('requests a second, kit to bare that pipelines', seen.ratios('kit', 'pipelined', perSecond), {
        budget: { atLeast: 0.6 },
      }),
      toRow('requests a second, naive to bare', seen.ratios('naive', 'bare', perSecond)),
      toRow('processor time, kit to naive', seen.ratios('kit', 'naive', cpuSum), { budget: { atMost: 0.5 } }),
      beside
        ? toRow('requests a second, kit to before', seen.ratios('kit', 'before', perSecond))
        : notMeasured('requests a second, kit to before', needsBefore),
    ]
    for (const variant of variants) {
      signal.throwIfAborted()
      rows.push(await countCalls(variant, size.traced))
    }
    return { rows, costs: costsOf(seen) }
  },
}

async function countCalls(variant: Variant, requests: number): Promise<Row> {
  const { name, actor } = variant
  const what = `system calls a request, ${name}`
  const budget = name === 'kit' ? { atMost: 3 } : undefined
  const calls = await countSystemCalls(actor.pids.node as number, () => ask(variant, { responses: requests }))
  if (calls === undefined) return notMeasured(what, 'there is no strace, or it may not look', budget)
  return toRow(what, [calls / requests], { budget })
}
