import type { Request, RequestHandler } from 'express'
import session, { type SessionData, type Store } from 'express-session'
import { kitErrors } from '../errors/errors.ts'
import { cookieName, createCookieReader } from './cookie.ts'
import type { SessionStore } from './sessions.ts'

export interface SessionOptions {
  sessions: SessionStore
  /** The first signs, all verify. */
  secrets: string[]
  /** However much it is used, a log-in ends after this long. Default: one week. */
  absoluteLifetimeMs?: number
}

const signedIds = new WeakMap<Request, string>()

/** The id in the request's cookie, if it is signed; says nothing about whether such a session exists. Known once the session middleware has begun. */
export function sessionKey(req: Request): string | undefined {
  return signedIds.get(req)
}

/**
 * Reads the session that the cookie names; without one, no command is sent.
 * When it cannot be read, GET and HEAD go on with `req.sessionUnavailable`, and everything else is a 503: never anonymous.
 */
export function createSessionMiddleware(options: SessionOptions): RequestHandler {
  const { sessions, secrets, absoluteLifetimeMs = 7 * 24 * 3_600_000 } = options
  const readCookie = createCookieReader(secrets)
  const express = session({
    name: cookieName,
    secret: secrets,
    store: withAbsoluteLifetime(sessions.store, absoluteLifetimeMs),
    resave: false,
    saveUninitialized: false,
    rolling: false,
    cookie: { path: '/', httpOnly: true, sameSite: 'lax', secure: 'auto', maxAge: absoluteLifetimeMs },
  })
  return (req, res, next) => {
    const id = readCookie(req.headers.cookie)
    if (id !== undefined) signedIds.set(req, id)
    let answered = false
    express(req, res, (error?: unknown) => {
      if (answered) {
        // express-session saves by itself what nobody has saved before the answer; then it is too late for a 503.
        return error ? void req.log.error({ err: error }, 'session could not be saved') : undefined
      }
      answered = true
      if (!error) return next()
      req.sessionUnavailable = true
      if (req.method === 'GET' || req.method === 'HEAD') return next()
      next(kitErrors.E_REDIS_UNAVAILABLE({ cause: error, retryAfterMs: 1000 }))
    })
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
