import type { Request, RequestHandler, Response } from 'express'
import type { SessionData, Store } from 'express-session'
import { kitErrors } from '../errors/errors.ts'
import { createCookieReader, decode, defaultCookieName, type SignedCookie } from './cookie.ts'
import { createExpressSession } from './express-session.ts'
import { type CookieState, cookieOptions, isAlwaysSecure, rememberCookies, type SameSite } from './request-cookies.ts'
import { type SessionStore, sessionDefaults } from './sessions.ts'
import type { UserSessions } from './user-sessions.ts'

export interface SessionOptions {
  sessions: SessionStore
  /** The first signs, all verify. */
  secrets: string[]
  /** The first is written, all are read. Default: `sid`. Names with the prefix `__Host-` or `__Secure-` need HTTPS. */
  cookieNames?: string[]
  /** Default: `lax`. With `none`, cookies are sent over HTTPS only. */
  sameSite?: SameSite
  /** However much it is used, a log-in ends after this long. Default: one week. */
  absoluteLifetimeMs?: number
  /** Called before a session begins for a visitor who has not logged in. If it rejects, no session begins. */
  onVisitor?(req: Request): Promise<void>
  /**
   * When the session cannot be read, GET and HEAD go on with `req.sessionUnavailable`. What becomes of everything else:
   * `refuse` (the default) is a 503, for routes that look at `req.session` only; `go-on` leaves it to the routes, as
   * `mountRoutes` and `requireSession` decide it.
   */
  unreadableWrites?: 'refuse' | 'go-on'
}

/**
 * Reads the session that the cookie names; without one, no command is sent. For the application itself, not for a router's sub-application.
 * When it cannot be read, a request goes on with `req.sessionUnavailable` or is a 503 (`unreadableWrites`): never anonymous.
 */
export function createSessionMiddleware(options: SessionOptions): RequestHandler {
  const {
    sessions,
    secrets,
    onVisitor,
    cookieNames = [defaultCookieName],
    sameSite = 'lax',
    unreadableWrites = 'refuse',
  } = options
  const { absoluteLifetimeMs = sessionDefaults.absoluteLifetimeMs } = options
  const [name = defaultCookieName] = cookieNames
  const readCookies = createCookieReader(secrets, cookieNames)
  const store = withLists(withAbsoluteLifetime(sessions.store, absoluteLifetimeMs), sessions.ofUser)
  const prepare = createExpressSession({ store, secrets, name, absoluteLifetimeMs, sameSite })
  return (req, res, next) => {
    const cookies = readCookies(req.headers.cookie)
    const state: CookieState = {
      chosen: cookies[0],
      others: [],
      cookieNames,
      sameSite,
      isVisitor: false,
      onVisitor,
      sessions,
    }
    rememberCookies(req, state)
    if (cookies.length === 0) {
      prepare(req, res, undefined, null)
      return next()
    }
    const read = readAll(store, cookies).then(
      (found) => {
        const { cookie, data } = choose(found)
        state.chosen = cookie
        state.others = found.flatMap((one) => (one.cookie !== cookie && isLive(one.data) ? [one.cookie.id] : []))
        if (cookie.name !== name && isLive(data)) rename(req, res, cookie, name, absoluteLifetimeMs)
        prepare(req, res, cookie, data)
        next()
      },
      (cause) => {
        req.sessionUnavailable = true
        if (req.method === 'GET' || req.method === 'HEAD' || unreadableWrites === 'go-on') return next()
        next(kitErrors.E_REDIS_UNAVAILABLE({ cause, retryAfterMs: 1000 }))
      },
    )
    read.catch(next)
  }
}

interface Found {
  cookie: SignedCookie
  data: SessionData | null
}

/** In one turn of the event loop: one wait, however many cookies there are. */
function readAll(store: Store, cookies: SignedCookie[]): Promise<[Found, ...Found[]]> {
  const reads = cookies.map(
    (cookie) =>
      new Promise<Found>((resolve, reject) =>
        store.get(cookie.id, (error, data) => (error ? reject(error) : resolve({ cookie, data: data ?? null }))),
      ),
  )
  return Promise.all(reads) as Promise<[Found, ...Found[]]>
}

/** Prefers a log-in to a visitor's session, and that to one that has ended. */
function choose(found: [Found, ...Found[]]): Found {
  return (
    found.find(({ data }) => isLive(data) && data?.userId !== undefined) ??
    found.find(({ data }) => isLive(data)) ??
    found.find(({ data }) => data !== null) ??
    found[0]
  )
}

function isLive(data: SessionData | null): boolean {
  return data !== null && data.ended !== true
}

/** Moves a session to the cookie's present name. */
function rename(req: Request, res: Response, cookie: SignedCookie, name: string, maxAge: number): void {
  if (isAlwaysSecure(req, name) && !req.secure) return
  res.cookie(name, decode(cookie.raw), { ...cookieOptions(req, name), maxAge })
  res.clearCookie(cookie.name, cookieOptions(req, cookie.name))
}

function withAbsoluteLifetime(store: Store, lifetimeMs: number): Store {
  const isOver = ({ loggedInAt }: SessionData) => loggedInAt !== undefined && loggedInAt + lifetimeMs <= Date.now()
  const bounded: Store = Object.create(store)
  bounded.get = (id, callback) =>
    store.get(id, (error, data) => {
      if (!data || !isOver(data)) return callback(error, data)
      store.destroy(id, (failure) => callback(failure, null))
    })
  return bounded
}

/** Lists sessions that began under a version without lists, once for each. One that its user has ended meanwhile ends here. */
function withLists(store: Store, lists: UserSessions): Store {
  const listing: Store = Object.create(store)
  listing.get = (id, callback) =>
    store.get(id, (error, data) => {
      if (error || !data?.userId || data.listed || data.ended) return callback(error, data)
      list(store, lists, id, data.userId, data).then(
        (isLive) => callback(null, isLive ? data : null),
        (failure) => callback(failure),
      )
    })
  return listing
}

async function list(store: Store, lists: UserSessions, id: string, userId: string, data: SessionData) {
  const session = { id, createdAt: data.loggedInAt ?? 0, userAgent: '', origin: data.origin ?? id }
  const isLive = await lists.adopt(userId, session)
  if (isLive) data.listed = true
  await new Promise<void>((resolve, reject) => {
    const done = (error?: unknown) => (error ? reject(error) : resolve())
    if (isLive) store.set(id, data, done)
    else store.destroy(id, done)
  })
  return isLive
}
