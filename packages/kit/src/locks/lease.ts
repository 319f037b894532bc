import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import type { Logger } from '../log/log.ts'
import type { AcquireOptions, Lease, Locks } from './locks.ts'

/** Where leases are kept. Each holder has a token of its own; every method throws when the state is unknown. */
export interface LeaseStore {
  scope: Locks['scope']
  /** The fence, if the lock was free or is this token's already (an answer may have been lost); else `undefined`. */
  take(name: string, token: string, leaseMs: number): Promise<bigint | undefined>
  /** `false`: it is not this token's any more. */
  extend(name: string, token: string, leaseMs: number): Promise<boolean>
  give(name: string, token: string): Promise<void>
}

export interface LocksOptions {
  log: Logger
  /**
   * Where fences come from; by default from the store. A Postgres sequence keeps growing whatever happens to Redis and its clock.
   * Costs one more round trip to the store, which makes sure that the lock was still held when the number was drawn.
   */
  nextFence?(): Promise<bigint>
}

// How often a lock that somebody else holds is tried again.
const retryMs = { min: 20, max: 60 }

/** Acquiring, renewing and losing leases: the same for every store. */
export function createLocks(store: LeaseStore, { log, nextFence }: LocksOptions): Locks {
  const take = async (name: string, leaseMs: number) => {
    const token = randomUUID()
    try {
      // From before it is asked for: the lease may begin at any time until the answer is here.
      const takenAt = performance.now()
      let fence = await store.take(name, token, leaseMs)
      if (fence === undefined) return undefined
      if (nextFence) {
        fence = await nextFence()
        if (!(await store.extend(name, token, leaseMs))) return undefined
      }
      return createLease({ store, log, name, token, fence, leaseMs, takenAt })
    } catch (error) {
      void store.give(name, token).catch(() => undefined) // it may have been taken; else it is free in `leaseMs`
      throw error
    }
  }

  return {
    scope: store.scope,
    async acquire(name, { leaseMs, waitMs = 0, signal }: AcquireOptions) {
      const until = performance.now() + waitMs
      for (;;) {
        signal?.throwIfAborted()
        const lease = await take(name, leaseMs)
        if (lease && signal?.aborted) await lease.release()
        signal?.throwIfAborted()
        const left = until - performance.now()
        if (lease || left <= 0) return lease
        const pause = retryMs.min + Math.random() * (retryMs.max - retryMs.min)
        await wait(Math.min(pause, left), undefined, { signal }).catch(() => signal?.throwIfAborted())
      }
    },
  }
}

interface LeaseOptions {
  store: LeaseStore
  log: Logger
  name: string
  token: string
  fence: bigint
  leaseMs: number
  takenAt: number
}

function createLease({ store, log, name, token, fence, leaseMs, takenAt }: LeaseOptions): Lease {
  const lost = new AbortController()
  let renewedAt = takenAt
  let ended = false
  let renewal: NodeJS.Timeout
  let expiry: NodeJS.Timeout

  const end = () => {
    ended = true
    clearTimeout(renewal)
    clearTimeout(expiry)
  }
  const lose = (reason: string) => {
    if (ended) return
    end()
    log.warn({ lock: name, reason }, 'lock lost')
    lost.abort(new Error(`lost the lock ${name}: ${reason}`))
  }
  /** A little before the store lets go, since its clock may run faster than ours. */
  const watchExpiry = () => {
    clearTimeout(expiry)
    const left = renewedAt + leaseMs * 0.98 - performance.now()
    expiry = setTimeout(() => lose('it could not be renewed in time'), Math.max(left, 0))
  }
  const renew = async () => {
    const askedAt = performance.now()
    const held = await store.extend(name, token, leaseMs).catch(() => undefined)
    if (ended) return
    if (held === false) return lose('somebody else holds it')
    if (held) {
      renewedAt = askedAt
      watchExpiry()
    }
    renewal = setTimeout(renew, held ? leaseMs / 3 : Math.min(leaseMs / 10, 100))
  }
  watchExpiry()
  renewal = setTimeout(renew, leaseMs / 3)

  return {
    fence,
    signal: lost.signal,
    async release() {
      if (ended) return
      end()
      await store.give(name, token).catch((err) => log.warn({ err, lock: name }, 'lock not released: it will expire'))
    },
  }
}
