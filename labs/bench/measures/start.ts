import { cpuSinceStart } from '../cpu.ts'
import type { Measure } from '../measure.ts'
import { createProduct } from '../product.ts'
import { toRow } from '../rows.ts'

/** What it costs to start an API replica, with compiled code that an earlier start has kept. */
export const start: Measure = {
  name: 'start',
  title: 'the start of a replica, until /readyz says that it is ready',
  async run({ stage, size, signal }) {
    const product = await createProduct(stage, 'start')
    const cpuMs: number[] = []
    const readyMs: number[] = []
    // The first one fills the cache of compiled code if it is still empty.
    for (let started = 0; started <= size.starts; started++) {
      signal.throwIfAborted()
      const begunAt = performance.now()
      const replica = await product.start('api')
      if (started > 0) {
        cpuMs.push(cpuSinceStart(replica.pid))
        readyMs.push(performance.now() - begunAt)
      }
      await replica.terminate()
    }
    return {
      rows: [
        toRow('milliseconds of processor time to ready', cpuMs, { budget: { atMost: 500 } }),
        toRow('milliseconds to ready', readyMs),
      ],
    }
  },
}
