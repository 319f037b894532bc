import type { Request, RequestHandler, Response } from 'express'

export interface SessionAndLimitsOptions {
  session: RequestHandler
  /** Their keys cannot depend on the session's content, only on its signed id. */
  limiters: RequestHandler[]
  /** Runs when the session has been read and no limiter has refused the request; a rejection refuses it. */
  settle?(req: Request, res: Response): Promise<void> | undefined
}

/** Begins all at once, so that their commands leave in one turn of the event loop: one wait for Redis instead of several. */
export function createSessionAndLimits({ session, limiters, settle }: SessionAndLimitsOptions): RequestHandler {
  return (req, res, next) => {
    let waitingFor = 1 + limiters.length
    let refused: unknown
    let failed: unknown
    const done = () => {
      if (--waitingFor > 0) return
      const settled = refused || failed ? undefined : settle?.(req, res)
      if (settled === undefined) return next(refused ?? failed)
      settled.then(() => next(), next)
    }
    session(req, res, (error?: unknown) => {
      failed = error
      done()
    })
    for (const limiter of limiters) {
      limiter(req, res, (error?: unknown) => {
        refused ??= error
        done()
      })
    }
  }
}
