import type { Measure } from '../measure.ts'
import { costsOf, measureRounds, perSecond, type Variant } from '../rounds.ts'
import { toRow } from '../rows.ts'

/** What connections that NGINX keeps to a replica are worth. */
export const keepAlive: Measure = {
  name: 'keep-alive',
  title: 'GET /hello: connections between NGINX and Express that are kept',
  async run({ cast, size, signal }) {
    const common = { paths: ['/hello'], connections: 32 }
    const variants: Variant[] = [
      { ...common, name: 'kept', actor: await cast.bare() },
      { ...common, name: 'not kept', actor: await cast.closing() },
    ]
    const { rounds, warmUp, windowMs } = size
    const seen = await measureRounds(variants, { rounds, signal, warmUp: warmUp / 2, windowMs: windowMs * 0.6 })
    const kept = seen.ratios('kept', 'not kept', perSecond)
    return {
      rows: [toRow('requests a second, kept to not kept', kept, { budget: { atLeast: 1.7 } })],
      costs: costsOf(seen),
    }
  },
}
