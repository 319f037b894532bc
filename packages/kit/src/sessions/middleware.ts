import { randomBytes } from 'node:crypto'
import type { CookieOptions, Request, RequestHandler, Response } from 'express'
import session, { type SessionData, type Store } from 'express-session'
import { kitErrors } from '../errors/errors.ts'
import { createCookieReader, decode, defaultCookieName, type SignedCookie } from './cookie.ts'
import type { SessionStore } from './sessions.ts'

export interface SessionOptions {
  sessions: SessionStore
  /** The first signs, all verify. */
  secrets: string[]
  /** The first is written, all are read. Default: `sid`. Names with the prefix `__Host-` or `__Secure-` need HTTPS. */
  cookieNames?: string[]
  /** However much it is used, a log-in ends after this long. Default: one week. */
  absoluteLifetimeMs?: number
}

/** What the middleware knows about a request's cookies. */
interface CookieState {
  /** The cookie whose session the request uses. */
  chosen: SignedCookie | undefined
  /** Ids of further sessions that the request named and the store knew. */
  others: string[]
  cookieNames: string[]
  /** Whether the session that begins now is a visitor's who has not logged in. */
  isVisitor: boolean
}

const states = new WeakMap<Request, CookieState>()
const visitorPrefix = 'a.' // no random id has a dot

/**
 * Returns the id in the request's signed cookie; says nothing about whether such a session exists. Known once the
 * session middleware has begun; of several cookies, it is the first until the store has been asked.
 */
export function sessionKey(req: Request): string | undefined {
  return states.get(req)?.chosen?.id
}

/** Returns the key of `sessionKey`, unless its id shows that nobody has logged in with it. */
export function logInKey(req: Request): string | undefined {
  const id = sessionKey(req)
  return id?.startsWith(visitorPrefix) ? undefined : id
}

/** Ids of further sessions that the request's cookies named and the store knew. */
export function otherSessions(req: Request): string[] {
  return states.get(req)?.others ?? []
}

export function cookieNamesOf(req: Request): string[] {
  return states.get(req)?.cookieNames ?? [defaultCookieName]
}

/** Gives the request a new session with a new id, which shows that nobody has logged in with it. */
export function beginVisitorSession(req: Request): void {
  const state = states.get(req)
  if (state) state.isVisitor = true
  newSessionId(req)
  if (state) state.isVisitor = false
}

/** Gives the request a new session with a new id; the old one is left as it is. */
export function newSessionId(req: Request): void {
  // Added by express-session; the types leave it out of `Store`.
  ;(req.sessionStore as Store & { generate(req: Request): void }).generate(req)
}

export function cookieOptions(req: Request, name: string): CookieOptions {
  return { path: '/', httpOnly: true, sameSite: 'lax', secure: needsHttps(name) || req.secure }
}

/** Browsers take a cookie with such a name only with `Secure`. */
export function needsHttps(name: string): boolean {
  return name.startsWith('__Host-') || name.startsWith('__Secure-')
}

/**
 * Reads the session that the cookie names; without one, no command is sent.
 * When it cannot be read, GET and HEAD go on with `req.sessionUnavailable`, and everything else is a 503: never anonymous.
 */
export function createSessionMiddleware(options: SessionOptions): RequestHandler {
  const { sessions, secrets, cookieNames = [defaultCookieName], absoluteLifetimeMs = 7 * 24 * 3_600_000 } = options
  const [name = defaultCookieName] = cookieNames
  const readCookies = createCookieReader(secrets, cookieNames)
  const store = withAbsoluteLifetime(sessions.store, absoluteLifetimeMs)
  const begin = createExpressSession(store, {
    name,
    secret: secrets,
    genid: (req) =>
      `${states.get(req as Request)?.isVisitor ? visitorPrefix : ''}${randomBytes(24).toString('base64url')}`,
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
  return (req, res, next) => {
    const cookies = readCookies(req.headers.cookie)
    const state: CookieState = { chosen: cookies[0], others: [], cookieNames, isVisitor: false }
    states.set(req, state)
    if (cookies.length === 0) return begin(req, res, undefined, null, next)
    const read = readAll(store, cookies).then(
      (found) => {
        const { cookie, data } = choose(found)
        state.chosen = cookie
        state.others = found.flatMap((one) => (one.cookie !== cookie && isLive(one.data) ? [one.cookie.id] : []))
        if (cookie.name !== name && isLive(data)) rename(req, res, cookie, name, absoluteLifetimeMs)
        begin(req, res, cookie, data, next)
      },
      (cause) => {
        req.sessionUnavailable = true
        if (req.method === 'GET' || req.method === 'HEAD') return next()
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
  if (needsHttps(name) && !req.secure) return
  res.cookie(name, decode(cookie.raw), { ...cookieOptions(req, name), maxAge })
  res.clearCookie(cookie.name, cookieOptions(req, cookie.name))
}

/**
 * Begins express-session with a cookie and a record that have been read. It parses the header in its own way, so it sees
 * a header with this one cookie while it looks: two readers could disagree about who is logged in.
 */
function createExpressSession(store: Store, options: session.SessionOptions) {
  const fed: Store = Object.create(store)
  let feed: { data: SessionData | null } | undefined
  fed.get = (id, callback) => {
    if (feed === undefined) return store.get(id, callback)
    const { data } = feed
    feed = undefined
    callback(null, data)
  }
  const express = session({ ...options, store: fed })
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
    req.headers.cookie = cookie && `${options.name}=${cookie.raw}`
    feed = cookie && { data }
    express(req, res, begun)
    feed = undefined
    if (header !== undefined) req.headers.cookie = header
    else delete req.headers.cookie
  }
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
