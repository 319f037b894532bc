import { kitErrors } from '../errors/errors.ts'
import type { Reading } from './cache.ts'

/** What a load gave, as it is kept: `text` is JSON, empty for an absence. */
export interface Loaded {
  text: string
  version: number | undefined
  /** By `performance.now()`. */
  startedAt: number
}

export const defaultLoadTimeoutMs = 2000

/** Runs loads with a time limit, at most `maxLoads` at once: without a shared tier, this is what protects the source. */
export function createLoader(maxLoads: number): (reading: Reading<unknown>) => Promise<Loaded> {
  let running = 0
  const waiting: (() => void)[] = []

  const enter = async (timeoutMs: number) => {
    if (running < maxLoads) {
      running++
      return
    }
    const turn = Promise.withResolvers<void>()
    waiting.push(turn.resolve)
    const timer = setTimeout(() => {
      waiting.splice(waiting.indexOf(turn.resolve), 1)
      turn.reject(kitErrors.E_OVERLOADED({ retryAfterMs: 1000, reason: 'cache loads' }))
    }, timeoutMs)
    await turn.promise
    clearTimeout(timer)
  }
  const leave = () => {
    const next = waiting.shift()
    if (next) next()
    else running--
  }

  return async (reading) => {
    const { loadTimeoutMs = defaultLoadTimeoutMs } = reading
    await enter(loadTimeoutMs)
    const startedAt = performance.now()
    const abort = new AbortController()
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(() => {
      const error = kitErrors.E_TIMEOUT({ retryAfterMs: 1000 })
      abort.abort(error)
      late.reject(error)
    }, loadTimeoutMs)
    try {
      const value = await Promise.race([reading.load(abort.signal), late.promise])
      if (value === undefined) return { text: '', version: undefined, startedAt }
      return { text: JSON.stringify(value), version: reading.version?.(value), startedAt }
    } finally {
      clearTimeout(timer)
      leave()
    }
  }
}

/** Those who wait for a load that takes longer than `freshMs` must find its value, or each would load in turn. */
const atLeastMs = 200

/** From now on: how long a loaded value is fresh, and how long it is better than none after that. */
export function lifeOf(reading: Reading<unknown>, { text, startedAt }: Loaded): { freshMs: number; staleMs: number } {
  const { freshMs, staleMs, absentMs = Math.min(freshMs, 1000) } = reading
  const wanted = text === '' ? absentMs : freshMs
  const left = wanted * (1 - Math.random() / 10) - (performance.now() - startedAt)
  return { freshMs: Math.max(left, Math.min(wanted, atLeastMs) * 0.9), staleMs: text === '' ? 0 : staleMs }
}
