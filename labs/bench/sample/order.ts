import { type Measure, needsBefore } from '../measure.ts'
import { costsOf, measureRounds, perSecond, type Variant } from '../rounds.ts'
import { type Budget, notMeasured, type Row, toRow } from '../rows.ts'
import { addShows } from './shows.ts'

const connections = 32
// Within what rounds differ by anyway.
const asFast: Budget = { atLeast: 0.95 }

/** Orders through HTTP. Bare decreases the stock, writes order and message in one statement, and knows no keys. */
export const order: Measure = {
  name: 'order',
  title: `POST /v1/shows/:id/orders, ${connections} connections`,
  async run({ cast, size, signal, beside }) {
    const variants: Variant[] = []
    for (const name of ['bare', 'kit', 'before'] as const) {
      const actor = await cast[name]()
      if (!actor) continue
      const paths = (await addShows(actor.databaseUrl, 20)).map((id) => `/v1/shows/${id}/orders`)
      const common = { actor, body: '{"quantity":1}', connections, paths }
      variants.push({ ...common, name })
      if (name === 'bare') continue
      variants.push({ ...common, name: `${name}, one show`, paths: paths.slice(0, 1) })
      variants.push({ ...common, name: `${name}, alone`, paths: paths.slice(0, 1), connections: 1 })
    }
    const { rounds, warmUp, windowMs } = size
    const seen = await measureRounds(variants, { rounds, signal, warmUp: warmUp / 10, windowMs: windowMs * 0.5 })
    const toBefore = (what: string, suffix: string, budget?: Budget): Row =>
      beside
        ? toRow(what, seen.ratios(`kit${suffix}`, `before${suffix}`, perSecond), { budget })
        : notMeasured(what, needsBefore, budget)
    return {
      rows: [
        toRow('orders of 20 shows a second, kit to bare', seen.ratios('kit', 'bare', perSecond)),
        toBefore('orders of 20 shows a second, kit to before', '', { atLeast: 1.35 }),
        toBefore('orders of one show a second, kit to before', ', one show'),
        toBefore('one order at a time, kit to before', ', alone', asFast),
      ],
      costs: costsOf(seen),
    }
  },
}
