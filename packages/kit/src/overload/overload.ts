import type { Request, RequestHandler } from 'express'
import { kitErrors } from '../errors/errors.ts'

export interface OverloadOptions {
  /** Requests that this replica works on at once; one more gets `E_OVERLOADED`. */
  maxInFlight: number
  /** How late the event loop may be, on average over `sampleMs`, twice in a row. */
  maxDelayMs: number
  sampleMs?: number
  /** Requests that are never shed: they are cheap, or finish what has been paid for. */
  essential(method: string, path: string): boolean
}

export interface Overload {
  middleware: RequestHandler
  /** Stops counting a request as work, for a connection that stays open and does nothing most of the time: it needs a bound of its own. */
  exempt(req: Request): void
  state(): { inFlight: number; delayMs: number; shedding: boolean }
  stop(): void
}

// Sheds from the limit on until the load is back under this part of it: at the very edge, it would flutter.
const relief = 0.8

/**
 * Rejects early: work still queued when its client times out is wasted. `Retry-After` is two or three seconds at
 * random, so that those who were refused do not come back together.
 */
export function createOverload(options: OverloadOptions): Overload {
  const { maxInFlight, maxDelayMs, sampleMs = 250, essential } = options
  let inFlight = 0
  let full = false
  let late = false
  const counted = new WeakSet<Request>()
  const exempt = (req: Request) => {
    if (counted.delete(req)) inFlight--
  }

  const delay = watchDelay(sampleMs, (delayMs) => {
    late = delayMs > (late ? maxDelayMs * relief : maxDelayMs)
  })

  return {
    middleware(req, res, next) {
      full = inFlight >= (full ? Math.ceil(maxInFlight * relief) : maxInFlight)
      if ((full || late) && !essential(req.method, req.path)) {
        const reason = full ? 'requests in flight' : 'event loop delay'
        return next(kitErrors.E_OVERLOADED({ retryAfterMs: 1000 + Math.random() * 2000, reason }))
      }
      inFlight++
      counted.add(req)
      res.on('close', () => exempt(req))
      next()
    },
    exempt,
    state: () => ({ inFlight, delayMs: delay.ms(), shedding: full || late }),
    stop: delay.stop,
  }
}

const lookMs = 50 // each look wakes an idle process

/**
 * Measures how late the event loop is: the mean of the looks of `sampleMs`, or that of the sample before, if it is less. One long
 * turn is no load: a process that was paused is late once, and must not refuse what waited meanwhile.
 */
function watchDelay(sampleMs: number, onSample: (delayMs: number) => void): { ms(): number; stop(): void } {
  let lookedAt = performance.now()
  let sampledAt = lookedAt
  let looks = 0
  let lateMs = 0
  let before = 0
  let delayMs = 0
  const timer = setInterval(() => {
    const now = performance.now()
    lateMs += Math.max(0, now - lookedAt - lookMs)
    looks++
    lookedAt = now
    if (now - sampledAt < sampleMs) return
    const mean = lateMs / looks
    delayMs = Math.min(before, mean)
    before = mean
    sampledAt = now
    looks = 0
    lateMs = 0
    onSample(delayMs)
  }, lookMs)
  timer.unref()
  return { ms: () => delayMs, stop: () => clearInterval(timer) }
}

/** Whether a request belongs to one of the routes that say that they are essential. */
export function essentialRoutes(
  routes: { method: string; path: string; essential?: boolean }[],
): OverloadOptions['essential'] {
  const patterns = routes
    .filter((route) => route.essential)
    .map(({ method, path }) => ({
      method: method.toUpperCase(),
      path: new RegExp(`^${path.replace(/[.]/g, '\\.').replace(/:\w+/g, '[^/]+')}$`),
    }))
  return (method, path) => {
    const asked = method === 'HEAD' ? 'GET' : method // the same handler answers both
    return patterns.some((pattern) => pattern.method === asked && pattern.path.test(path))
  }
}
