import type { Request } from 'express'
import type { Session as ExpressSession, SessionData } from 'express-session'
import { kitErrors } from '../errors/errors.ts'
import { beginVisitorSession } from './express-session.ts'
import { admitVisitor, cookieNamesOf, isAlwaysSecure, sessionKey } from './request-cookies.ts'
import './sessions.ts' // for what it declares of a session and a request

// Named by its own types, so that the declaration of this file brings `req.session` along.
type Session = ExpressSession & Partial<SessionData>

/** Throws `E_REDIS_UNAVAILABLE` (503) when the session could not be read. */
export function requireSession(req: Request): Session {
  if (req.sessionUnavailable || !req.session) throw unavailable()
  return req.session
}

/**
 * Returns the key for what is kept beside a session (what a visitor has chosen, for example). It stays the same when log-in renews the session's
 * id: nothing has to be moved, and a write that is under way at that moment is not lost.
 * Throws `E_SESSION_ENDED` (409) for a cookie from before a log-in or log-out: its session belongs to no user.
 */
export function sessionOrigin(req: Request): string {
  return requireLiveSession(req).origin ?? req.sessionID
}

/** Returns whether the request came with a session that the store knows and that has not ended. */
export function hasStoredSession(req: Request): boolean {
  const session = requireSession(req)
  return session.ended !== true && session.id === sessionKey(req)
}

/**
 * Begins a session for a visitor who has none and saves it, so that something can be kept beside it.
 * Throws `E_SESSION_ENDED` (409), since a new cookie would replace the one that a log-in has just set.
 */
export async function beginSession(req: Request): Promise<void> {
  if (hasStoredSession(req)) return
  requireLiveSession(req)
  await admitVisitor(req)
  beginVisitorSession(req)
  requireSession(req).origin = req.sessionID
  await saveSession(req)
}

/**
 * Saves the session. Await it before answering: express-session by itself saves while it answers, so the client's next
 * request can come too early, and a failure comes too late. Throws `E_REDIS_UNAVAILABLE`, `E_SESSION_ENDED`.
 */
export async function saveSession(req: Request): Promise<void> {
  const session = requireLiveSession(req)
  warnWithoutHttps(req)
  const saved = contents(session)
  const { save } = session
  await settled((done) => save.call(session, done))
  // express-session does not see that a renewed session has been saved, and would do it again while it answers.
  Object.defineProperty(session, 'save', {
    configurable: true,
    enumerable: false,
    writable: true,
    value(this: Session, done?: (error?: unknown) => void) {
      if (contents(this) !== saved) return save.call(this, done)
      done?.()
      return this
    },
  })
}

/**
 * Reads the session again: returns whether it still belongs to the user whom it belonged to when the request began. For work that must
 * not outlive the session, under a lock that is also held where sessions are ended. Throws `E_REDIS_UNAVAILABLE`.
 */
export async function isStillLoggedIn(req: Request): Promise<boolean> {
  const { userId, id } = requireSession(req)
  const found = await available(
    new Promise<SessionData | null | undefined>((resolve, reject) =>
      req.sessionStore.get(id, (error, data) => (error ? reject(error) : resolve(data))),
    ),
  )
  return found != null && found.ended !== true && userId !== undefined && found.userId === userId
}

function requireLiveSession(req: Request): Session {
  const session = requireSession(req)
  if (session.ended) throw kitErrors.E_SESSION_ENDED({ retryAfterMs: 1000 })
  return session
}

/** Without this line, a log-in over HTTP would seem to work and leave no trace of why it did not. */
function warnWithoutHttps(req: Request): void {
  const [name = ''] = cookieNamesOf(req)
  if (isAlwaysSecure(req, name) && !req.secure)
    req.log.error({ cookieName: name }, 'the session cookie is not sent without HTTPS')
}

/** Waits for a call of the store. Throws `E_REDIS_UNAVAILABLE`. */
export function settled(run: (done: (error?: unknown) => void) => unknown): Promise<void> {
  return available(new Promise<void>((resolve, reject) => run((error) => (error ? reject(error) : resolve()))))
}

/** Throws `E_REDIS_UNAVAILABLE` when the store did not reply. */
export async function available<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer
  } catch (cause) {
    throw unavailable(cause)
  }
}

function unavailable(cause?: unknown) {
  return kitErrors.E_REDIS_UNAVAILABLE({ cause, retryAfterMs: 1000 })
}

function contents(session: Session): string {
  const { cookie: _, ...data } = session
  return JSON.stringify(data)
}
