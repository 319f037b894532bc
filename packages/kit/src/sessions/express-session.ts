import { randomBytes } from 'node:crypto'
import type { Request, Response } from 'express'
import session, { type SessionData, type Store } from 'express-session'
import type { SignedCookie } from './cookie.ts'
import { asVisitor, idPrefix, needsHttps, type SameSite } from './request-cookies.ts'

export interface ExpressSessionOptions {
  store: Store
  secrets: string[]
  /** The cookie's value. */
  name: string
  absoluteLifetimeMs: number
  sameSite: SameSite
}

/** What was read for a request, until `req.session` is accessed. */
interface Pending {
  data: SessionData | null
  hasBegun: boolean
  begin(): void
}

const pending = Symbol('the session that was read')
type PendingRequest = Request & { [pending]?: Pending }

/**
 * Returns what gives a request the cookie and the record that were read for it. express-session itself begins when
 * `req.session`, `req.sessionID` or `req.sessionStore` is asked for, with its digests, its ids for visitors and its watch over
 * the response: most requests need to know only who is logged in (`sessionUser`). It parses the cookie header in its own
 * way, so it sees a header with this one cookie: two readers could disagree about who is logged in.
 */
export function createExpressSession({ store, secrets, name, absoluteLifetimeMs, sameSite }: ExpressSessionOptions) {
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
      sameSite,
      secure: needsHttps(name) || sameSite === 'none' ? true : 'auto',
      maxAge: absoluteLifetimeMs,
    },
  })
  const begin = (req: Request, res: Response, cookie: SignedCookie | undefined, data: SessionData | null) => {
    const { cookie: header } = req.headers
    let hasBegun = false
    req.headers.cookie = cookie && `${name}=${cookie.raw}`
    feed = cookie && { data }
    try {
      // It goes on at once, since the record is there.
      express(req, res, (error?: unknown) => {
        // express-session saves by itself what has not been saved before the response; then it is too late for a 503.
        if (hasBegun && error) req.log.error({ err: error }, 'session could not be saved')
        else if (error) throw error
        hasBegun = true
      })
    } finally {
      feed = undefined
      if (header !== undefined) req.headers.cookie = header
      else delete req.headers.cookie
    }
  }
  return (req: Request, res: Response, cookie: SignedCookie | undefined, data: SessionData | null): void => {
    answerLater(Object.getPrototypeOf(req))
    const state: Pending = { data, hasBegun: false, begin: () => begin(req, res, cookie, data) }
    ;(req as PendingRequest)[pending] = state
  }
}

/**
 * Returns who is logged in. Unlike `req.session`, asking costs nothing. `undefined`: no user is, or the session could not be
 * read (`req.sessionUnavailable`).
 */
export function sessionUser(req: Request): string | undefined {
  const state = (req as PendingRequest)[pending]
  return state === undefined || state.hasBegun ? req.session?.userId : state.data?.userId
}

/** Has the three properties begin express-session. On the application's prototype, once: an accessor of each request's own costs more. */
function answerLater(prototype: object): void {
  if (Object.hasOwn(prototype, 'session')) return
  for (const property of ['session', 'sessionID', 'sessionStore'] as const) {
    Object.defineProperty(prototype, property, {
      configurable: true,
      get(this: PendingRequest) {
        const state = this[pending]
        if (state === undefined || state.hasBegun) return undefined
        state.hasBegun = true // express-session looks at the property as well
        try {
          state.begin()
        } catch (error) {
          state.hasBegun = false
          throw error
        }
        return this[property]
      },
      set(this: PendingRequest, value: unknown) {
        Object.defineProperty(this, property, { configurable: true, enumerable: true, writable: true, value })
      },
    })
  }
}

/** Gives the request a new session with a new id, which shows that it belongs to a visitor. */
export function beginVisitorSession(req: Request): void {
  asVisitor(req, () => newSessionId(req))
}

/** Gives the request a new session with a new id; the old one is left as it is. */
export function newSessionId(req: Request): void {
  // Added by express-session; the types leave it out of `Store`.
  ;(req.sessionStore as Store & { generate(req: Request): void }).generate(req)
}
