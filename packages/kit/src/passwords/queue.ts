import { kitErrors } from '../errors/errors.ts'
import { createLine } from './waiting-line.ts'

export interface QueueOptions {
  maxConcurrent: number
  /** Work that may wait, in milliseconds of processor time divided by `maxConcurrent`. */
  maxWaitMs: number
  /** How long one piece of work may wait, in milliseconds: on a machine that is busy with other things, a second of work takes longer. */
  maxStayMs?: number
  /** Longest rest after a piece of work that was held up, in milliseconds. */
  maxRestMs?: number
  /** What one piece of work is thought to cost until some have been measured. */
  firstCostMs: number
}

/** Whose work it is. Without one, it is that of a stranger who shares the turns of all others without one. */
export interface HashClient {
  /** Its address, for instance: clients take turns. */
  from: string
  /** It has shown that it was here before: strangers, however many, leave it half of the places and of the turns. */
  isKnown: boolean
}

export type Queue = <T>(work: () => Promise<T>, signal?: AbortSignal, client?: HashClient) => Promise<T>

const remembered = 32

/**
 * Runs a few pieces of work at a time and lets others wait, as long as they are not more than `maxWaitMs` of work; beyond
 * that it throws `E_OVERLOADED`, for the client with the most waiting work, and for work that has waited for `maxStayMs`. Clients take turns. Work whose signal is aborted before its turn is dropped and never begins (`E_TIMEOUT`).
 *
 * Where processors are scarce, work yields to everything else: after a piece that took longer than its processor time, its place
 * rests for as long as it was held up.
 */
export function createQueue(options: QueueOptions): Queue {
  const { maxConcurrent, maxWaitMs, firstCostMs, maxStayMs = 5000, maxRestMs = 500 } = options
  const line = createLine()
  const costs: number[] = []
  /** Places that are taken; some may be resting. */
  let taken = 0
  let running = 0

  /** The least of the last ones: the other measurements contain more of what else the process did. */
  const costMs = () => (costs.length === 0 ? firstCostMs : Math.max(0.1, Math.min(...costs)))
  const maxWaiting = () => Math.max(1, Math.floor((maxWaitMs / costMs()) * maxConcurrent))

  function takePlace(signal: AbortSignal | undefined, client: HashClient): Promise<void> | undefined {
    if (signal?.aborted) throw dropped()
    if (taken < maxConcurrent) return void taken++
    return new Promise((resolve, reject) => {
      const refuse = () => reject(kitErrors.E_OVERLOADED({ retryAfterMs: maxWaitMs, reason: 'password hashes' }))
      const leave = () => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', drop)
      }
      const entry = {
        ...client,
        begin() {
          leave()
          resolve()
        },
        evicted() {
          leave()
          refuse()
        },
      }
      const drop = () => {
        clearTimeout(timer)
        line.remove(entry)
        reject(dropped())
      }
      const giveUp = () => {
        line.remove(entry)
        entry.evicted()
      }
      if (!line.add(entry, maxWaiting())) return refuse()
      const timer = setTimeout(giveUp, maxStayMs)
      signal?.addEventListener('abort', drop, { once: true })
    })
  }

  /** Hands the place over. */
  function leavePlace(): void {
    const next = line.next()
    if (next === undefined) return void taken--
    next.begin()
  }

  return async (work, signal, client = { from: '', isKnown: false }) => {
    await takePlace(signal, client)
    line.count(client.from)
    running++
    const begunAt = performance.now()
    const before = process.cpuUsage()
    let restMs = 0
    try {
      const result = await work()
      // Processor time, not time: on a busy machine each piece takes longer, and is no more work. What failed may have cost nothing.
      const { user, system } = process.cpuUsage(before)
      costs.push((user + system) / 1000 / running)
      if (costs.length > remembered) costs.shift()
      restMs = Math.min(maxRestMs, performance.now() - begunAt - costMs())
      return result
    } finally {
      running--
      if (restMs < 1) leavePlace()
      else setTimeout(leavePlace, restMs).unref()
    }
  }
}

/** The result is no longer needed: the client is gone, or has its response. */
function dropped() {
  return kitErrors.E_TIMEOUT({ retryAfterMs: 1000 })
}
