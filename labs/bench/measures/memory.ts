import { setTimeout as wait } from 'node:timers/promises'
import { readMemory } from '../counters.ts'
import type { Measure } from '../measure.ts'
import { createProduct, logIn } from '../product.ts'
import { notMeasured, toRow } from '../rows.ts'

const budget = { atMost: 150 }
const what = 'MB of a replica after 20 log-ins'

/** What hashing passwords leaves behind: half of the log-ins in a row, half at once. */
export const memory: Measure = {
  name: 'memory',
  title: 'resident memory of a replica, with PASSWORD_HASH as it is by default',
  async run({ stage, signal }) {
    const replica = await (await createProduct(stage, 'memory')).start('api')
    const fresh = readMemory(replica.pid)
    await logIn(replica.url, 10)
    await logIn(replica.url, 10, 10)
    await wait(1000, undefined, { signal })
    const used = readMemory(replica.pid)
    await replica.terminate()
    if (fresh === undefined || used === undefined) return { rows: [notMeasured(what, 'there is no /proc', budget)] }
    return { rows: [toRow('MB of a replica that is ready', [fresh / 1e6]), toRow(what, [used / 1e6], { budget })] }
  },
}
