import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Request, RequestHandler } from 'express'
import { kitErrors } from '../errors/errors.ts'

export interface OverloadOptions {
  /** Requests that this replica works on at once; one more gets `E_OVERLOADED`. */
  maxInFlight: number
  /** How late the event loop may be, on average over `sampleMs`. */
  maxDelayMs: number
  sampleMs?: number
  /** Requests that are never shed: they are cheap, or finish what has been paid for. */
  essential(method: string, path: string): boolean
}

export interface Overload {
  middleware: RequestHandler
  /** Stops counting a request as work, for a connection that stays open and does nothing most of the time: it needs a bound of its own. */
  exempt(req: Request): void
  state(): { inFlight: number; delayMs: number; shedding: boolean; shed: number }
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
  const resolution = 50 // each look wakes an idle process
  const histogram = monitorEventLoopDelay({ resolution })
  histogram.enable()
  let inFlight = 0
  let delayMs = 0
  let full = false
  let late = false
  let shed = 0
  const counted = new WeakSet<Request>()
  const exempt = (req: Request) => {
    if (counted.delete(req)) inFlight--
  }

  const sampler = setInterval(() => {
    // The histogram's mean is the time between two looks, of which `resolution` was planned.
    delayMs = Number.isNaN(histogram.mean) ? 0 : Math.max(0, histogram.mean / 1e6 - resolution)
    histogram.reset()
    late = delayMs > (late ? maxDelayMs * relief : maxDelayMs)
  }, sampleMs)
  sampler.unref()

  return {
    middleware(req, res, next) {
      full = inFlight >= (full ? Math.ceil(maxInFlight * relief) : maxInFlight)
      if ((full || late) && !essential(req.method, req.path)) {
        shed++
        return next(kitErrors.E_OVERLOADED({ retryAfterMs: 1000 + Math.random() * 2000 }))
      }
      inFlight++
      counted.add(req)
      res.once('close', () => exempt(req))
      next()
    },
    exempt,
    state: () => ({ inFlight, delayMs, shedding: full || late, shed }),
    stop() {
      clearInterval(sampler)
      histogram.disable()
    },
  }
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
