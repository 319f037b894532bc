import { createLocks, type LeaseStore, type LocksOptions } from './lease.ts'
import type { Locks } from './locks.ts'

/** Locks in this process: another replica holds the same name at the same time. For tests, and for exactly one replica. */
export function createMemoryLocks(options: LocksOptions): Locks {
  return createLocks(createMemoryLeases(), options)
}

interface Held {
  token: string
  fence: bigint
  until: number
}

export function createMemoryLeases(): LeaseStore {
  const leases = new Map<string, Held>()
  let fences = 0n
  const holder = (name: string) => {
    const held = leases.get(name)
    return held && held.until > performance.now() ? held : undefined
  }
  return {
    scope: 'process',
    async take(name, token, leaseMs) {
      const held = holder(name)
      if (held && held.token !== token) return undefined
      const fence = held?.fence ?? ++fences
      leases.set(name, { token, fence, until: performance.now() + leaseMs })
      return fence
    },
    async extend(name, token, leaseMs) {
      const held = holder(name)
      if (held?.token !== token) return false
      held.until = performance.now() + leaseMs
      return true
    },
    async give(name, token) {
      if (holder(name)?.token === token) leases.delete(name)
    },
  }
}
