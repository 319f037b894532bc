import { kitErrors } from '../errors/errors.ts'

export interface QueueOptions {
  maxConcurrent: number
  /** Work that may wait, in milliseconds of processor time divided by `maxConcurrent`. */
  maxWaitMs: number
  /** What one piece of work is thought to cost until some have been measured. */
  firstCostMs: number
}

export type Queue = <T>(work: () => Promise<T>, signal?: AbortSignal) => Promise<T>

const remembered = 32

/**
 * Runs a few pieces of work at a time and lets others wait, as long as they are not more than `maxWaitMs` of work; beyond
 * that it throws `E_OVERLOADED`. Work whose signal is aborted before its turn is dropped and never begins (`E_TIMEOUT`).
 */
export function createQueue({ maxConcurrent, maxWaitMs, firstCostMs }: QueueOptions): Queue {
  const waiting = new Set<() => void>()
  const costs: number[] = []
  let running = 0

  /** The least of the last ones: the other measurements contain more of what else the process did. */
  const costMs = () => (costs.length === 0 ? firstCostMs : Math.max(0.1, Math.min(...costs)))
  const maxWaiting = () => Math.max(1, Math.floor((maxWaitMs / costMs()) * maxConcurrent))

  function takePlace(signal?: AbortSignal): Promise<void> | undefined {
    if (signal?.aborted) throw dropped()
    if (running < maxConcurrent) return void running++
    if (waiting.size >= maxWaiting()) throw kitErrors.E_OVERLOADED({ retryAfterMs: maxWaitMs })
    return new Promise((resolve, reject) => {
      const begin = () => {
        signal?.removeEventListener('abort', drop)
        resolve()
      }
      const drop = () => {
        waiting.delete(begin)
        reject(dropped())
      }
      waiting.add(begin)
      signal?.addEventListener('abort', drop, { once: true })
    })
  }

  /** Hands the place over to the one that has waited longest. */
  function leavePlace(): void {
    const [next] = waiting
    if (next === undefined) return void running--
    waiting.delete(next)
    next()
  }

  return async (work, signal) => {
    await takePlace(signal)
    const before = process.cpuUsage()
    try {
      const result = await work()
      // Processor time, not time: on a busy machine each piece takes longer, and is no more work. What failed may have cost nothing.
      const { user, system } = process.cpuUsage(before)
      costs.push((user + system) / 1000 / running)
      if (costs.length > remembered) costs.shift()
      return result
    } finally {
      leavePlace()
    }
  }
}

/** Nobody reads it: the client is gone, or has been answered. */
function dropped() {
  return kitErrors.E_TIMEOUT({ retryAfterMs: 1000 })
}
