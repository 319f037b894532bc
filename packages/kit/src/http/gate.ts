import type { RequestHandler } from 'express'

export interface GateOptions {
  session: RequestHandler
  limiter: RequestHandler
}

/**
 * Begins both at once, so that their commands leave in one turn of the event loop: one wait for Redis instead of two.
 * So the limiter's key cannot depend on the session's content, only on its signed id.
 */
export function createGate({ session, limiter }: GateOptions): RequestHandler {
  return (req, res, next) => {
    let waitingFor = 2
    let refused: unknown
    let failed: unknown
    const done = () => {
      if (--waitingFor === 0) next(refused ?? failed)
    }
    session(req, res, (error?: unknown) => {
      failed = error
      done()
    })
    limiter(req, res, (error?: unknown) => {
      refused = error
      done()
    })
  }
}
