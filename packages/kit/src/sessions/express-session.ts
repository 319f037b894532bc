import { randomBytes } from 'node:crypto'
import type { Request, Response } from 'express'
import session, { type SessionData, type Store } from 'express-session'
import type { SignedCookie } from './cookie.ts'
import { asVisitor, idPrefix, needsHttps } from './request-cookies.ts'

export interface ExpressSessionOptions {
  store: Store
  secrets: string[]
  /** Of the cookie. */
  name: string
  absoluteLifetimeMs: number
}

/**
 * Begins express-session with a cookie and a record that have been read. It parses the header in its own way, so it sees
 * a header with this one cookie while it looks: two readers could disagree about who is logged in.
 */
export function createExpressSession({ store, secrets, name, absoluteLifetimeMs }: ExpressSessionOptions) {
  const fed: Store = Object.create(store)
  let feed: { data: SessionData | null } | undefined
  fed.get = (id, callback) => {
    if (feed === undefined) return store.get(id, callback)
    const { data } = feed
    feed = undefined
    callback(null, data)
  }
  const express = session({
    name,
    secret: secrets,
    store: fed,
    genid: (req) => `${idPrefix(req as Request)}${randomBytes(24).toString('base64url')}`,
    resave: false,
    saveUninitialized: false,
    rolling: false,
    cookie: {
      path: '/',
      httpOnly: true,
      sameSite: 'lax',
      secure: needsHttps(name) ? true : 'auto',
      maxAge: absoluteLifetimeMs,
    },
  })
  return (
    req: Request,
    res: Response,
    cookie: SignedCookie | undefined,
    data: SessionData | null,
    next: (error?: unknown) => void,
  ): void => {
    const { cookie: header } = req.headers
    let hasBegun = false
    const begun = (error?: unknown) => {
      // express-session saves by itself what has not been saved before the response; then it is too late for a 503.
      if (hasBegun) return error ? void req.log.error({ err: error }, 'session could not be saved') : undefined
      hasBegun = true
      if (header !== undefined) req.headers.cookie = header
      next(error)
    }
    req.headers.cookie = cookie && `${name}=${cookie.raw}`
    feed = cookie && { data }
    express(req, res, begun)
    feed = undefined
    if (header !== undefined) req.headers.cookie = header
    else delete req.headers.cookie
  }
}

/** Gives the request a new session with a new id, which shows that nobody has logged in with it. */
export function beginVisitorSession(req: Request): void {
  asVisitor(req, () => newSessionId(req))
}

/** Gives the request a new session with a new id; the old one is left as it is. */
export function newSessionId(req: Request): void {
  // Added by express-session; the types leave it out of `Store`.
  ;(req.sessionStore as Store & { generate(req: Request): void }).generate(req)
}
