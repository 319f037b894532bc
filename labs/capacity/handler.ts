import type { Parts } from '../../apps/api/src/parts.ts'

/** How many requests one replica handles at a time. */
export const slots = 100
export const path = '/lab/wait/'

/**
 * `/lab/wait/50` waits 50 ms, as a request that asks a database does, with 100 at a time; the rest wait for a place.
 * Mounted before session, limiter and log: those cost CPU, and what is measured here is places.
 */
export const apiParts: Partial<Parts> = {
  listener(app) {
    const waiting: (() => void)[] = []
    let running = 0
    let peak = 0

    const handle = (ms: number, answer: () => void) => {
      peak = Math.max(peak, ++running)
      setTimeout(() => {
        answer()
        running--
        waiting.shift()?.()
      }, ms)
    }
    return (req, res) => {
      if (!req.url?.startsWith(path)) return app(req, res)
      const ms = Number(req.url.slice(path.length))
      const begin = () => handle(ms, () => res.setHeader('X-Peak', peak).end())
      if (running < slots) begin()
      else waiting.push(begin)
    }
  },
}
