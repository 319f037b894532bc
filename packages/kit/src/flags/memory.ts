import { createFlagValues } from './flag-values.ts'
import type { Flag, Flags } from './flags.ts'

/** Set in this process, seen by this process. */
export function createMemoryFlags({ declared }: { declared: Flag[] }): Flags {
  const values = createFlagValues(declared)
  const stored = new Map<string, unknown>()
  return {
    scope: 'process',
    get: values.get,
    all: values.all,
    async set(name, value) {
      values.check(name, value)
      stored.set(name, value)
      values.replace([...stored].map(([name, value]) => ({ name, value })))
    },
    async start() {},
    async stop() {},
  }
}
