import type { Request } from 'express'
import { kitErrors } from '../errors/errors.ts'
import { beginVisitorSession, newSessionId } from './express-session.ts'
import {
  admitVisitor,
  claimSession,
  cookieNamesOf,
  cookieOptions,
  needsHttps,
  otherSessions,
  sessionKey,
  userSessionsOf,
} from './request-cookies.ts'
import { maxUserAgentLength } from './user-sessions.ts'

type Session = Request['session']

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
 * Logs a user in and renews the session's id: knowing the old one is worth nothing. Ends every other session that the
 * request's cookies name, since the next request would name it again.
 */
export async function logIn(req: Request, userId: string): Promise<void> {
  const before = requireSession(req)
  const isKnown = hasStoredSession(req)
  // What an anonymous visitor kept beside the session goes along; what another user kept does not.
  const isSameVisitor = before.userId === undefined || before.userId === userId
  const kept = isKnown && isSameVisitor ? sessionOrigin(req) : undefined
  const isOwn = isKnown && before.userId === userId
  const idBefore = req.sessionID
  const [isTheirs] = await Promise.all([isKnown && available(claimSession(req, userId)), endOthers(req)])
  // Somebody else may log in with the same cookie at this moment.
  const origin = isTheirs ? kept : undefined
  // An id that this request itself has made needs no renewal. That of an ended session is known, and cannot be saved.
  if (isKnown || before.ended) newSessionId(req)
  const loggedInAt = Date.now()
  Object.assign(requireSession(req), { userId, loggedInAt, origin, listed: true })
  const userAgent = (req.get('user-agent') ?? '').slice(0, maxUserAgentLength)
  const session = { id: req.sessionID, createdAt: loggedInAt, userAgent, origin: sessionOrigin(req) }
  const [, ...results] = await Promise.allSettled([
    isOwn && forget(req, userId, idBefore), // before its successor is added, which may be one too many
    saveSession(req),
    userSessionsOf(req)?.add(userId, session),
  ])
  const failed = results.find(({ status }) => status === 'rejected') as PromiseRejectedResult | undefined
  if (failed === undefined) return
  // It may have been saved all the same; and a session that is in no list could not be ended.
  await undoLogIn(req)
  throw failed.reason
}

/**
 * Ends the session that `logIn` has just begun for this request: `logOut` ends those that the request came with. Its cookie is not
 * sent, so no client has it even when the store cannot be reached.
 */
export async function undoLogIn(req: Request): Promise<void> {
  const session = requireSession(req)
  const { id, userId } = session
  try {
    await settled((done) => session.destroy(done))
    if (userId !== undefined) await forget(req, userId, id)
  } catch (err) {
    req.log.warn({ err }, 'a log-in was undone, but its session could not be ended')
  }
}

/** Ends the sessions that the request's cookies name, not the user's others. Their ids are barred, so that no slow request can save them again. */
export async function logOut(req: Request): Promise<void> {
  const session = requireSession(req)
  const { userId } = session
  const { id } = session
  const ended = hasStoredSession(req) ? settled((done) => session.destroy(done)) : undefined
  await Promise.all([ended, endOthers(req)])
  if (userId !== undefined) await forget(req, userId, id)
  for (const name of cookieNamesOf(req)) req.res?.clearCookie(name, cookieOptions(req, name))
}

/** Ends the session of a user who no longer exists, and returns the error to throw. */
export async function endSession(req: Request) {
  await logOut(req)
  return kitErrors.E_NOT_LOGGED_IN()
}

/**
 * Only tidies up: a list leaves out sessions that have ended. Call it when the record has ended: a live session that is in no list
 * could not be ended by its user.
 */
function forget(req: Request, userId: string, id: string): Promise<void> | undefined {
  return userSessionsOf(req)
    ?.forget(userId, id)
    .catch((err) => req.log.warn({ err }, 'an ended session stays in the list of its user'))
}

function endOthers(req: Request): Promise<unknown> {
  const { sessionStore: store } = req
  return Promise.all(otherSessions(req).map((id) => settled((done) => store.destroy(id, done))))
}

function requireLiveSession(req: Request): Session {
  const session = requireSession(req)
  if (session.ended) throw kitErrors.E_SESSION_ENDED({ retryAfterMs: 1000 })
  return session
}

/** Without this line, a log-in over HTTP would seem to work and leave no trace of why it did not. */
function warnWithoutHttps(req: Request): void {
  const [name = ''] = cookieNamesOf(req)
  if (needsHttps(name) && !req.secure)
    req.log.error({ cookieName: name }, 'the session cookie is not sent without HTTPS')
}

function settled(run: (done: (error?: unknown) => void) => unknown): Promise<void> {
  return available(new Promise<void>((resolve, reject) => run((error) => (error ? reject(error) : resolve()))))
}

async function available<T>(answer: Promise<T>): Promise<T> {
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
