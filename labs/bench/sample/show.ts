import { type Measure, needsBefore } from '../measure.ts'
import { costsOf, measureRounds, perSecond, type Variant } from '../rounds.ts'
import { notMeasured, toRow } from '../rows.ts'
import { addShows } from './shows.ts'

const connections = 32
const budget = { atLeast: 1.35 }

/** A public response from memory: bare keeps it for ever, the kit as long as it is fresh. */
export const show: Measure = {
  name: 'show',
  title: `GET /v1/shows/:id: cached, public, ${connections} connections`,
  async run({ cast, size, signal }) {
    const variants: Variant[] = []
    for (const name of ['bare', 'kit', 'before'] as const) {
      const actor = await cast[name]()
      if (!actor) continue
      const paths = (await addShows(actor.databaseUrl, 20)).map((id) => `/v1/shows/${id}`)
      variants.push({ name, actor: { ...actor, cookies: [] }, paths, connections })
    }
    const { rounds, warmUp, windowMs } = size
    const shorter = { rounds, signal, warmUp: warmUp / 2, windowMs: windowMs * 0.6 }
    const seen = await measureRounds(variants, shorter)
    const toBefore = seen.ratios('kit', 'before', perSecond)
    return {
      rows: [
        toRow('requests a second, kit to bare', seen.ratios('kit', 'bare', perSecond)),
        seen.names.includes('before')
          ? toRow('requests a second, kit to before', toBefore, { budget })
          : notMeasured('requests a second, kit to before', needsBefore, budget),
      ],
      costs: costsOf(seen),
    }
  },
}
