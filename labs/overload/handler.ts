import type { IncomingMessage, RequestListener } from 'node:http'

export const path = '/lab/work'
/** How many requests one replica works on at a time, and for how long: 50 a second. */
export const slots = 10
export const workMs = 200

/** `/lab/work`: a handler that waits, as one that asks a database does; the rest queue for a place, as they do for a connection of a pool. */
export function withWork(app: RequestListener): RequestListener {
  const waiting: (() => void)[] = []
  let running = 0
  const work = (done: () => void) => {
    running++
    setTimeout(() => {
      done()
      running--
      waiting.shift()?.()
    }, workMs)
  }
  return (req: IncomingMessage, res) => {
    if (req.url !== path) return app(req, res)
    const begin = () => work(() => res.end('{}'))
    if (running < slots) begin()
    else waiting.push(begin)
  }
}
