import type { Request } from 'express'
import { kitErrors } from '../errors/errors.ts'
import { newSessionId } from './express-session.ts'
import { claimSession, cookieNamesOf, cookieOptions, otherSessions, userSessionsOf } from './request-cookies.ts'
import { available, hasStoredSession, requireSession, saveSession, sessionOrigin, settled } from './request-session.ts'
import { maxUserAgentLength } from './user-sessions.ts'

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
    if (userId !== undefined) void forget(req, userId, id)
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
  if (userId !== undefined) void forget(req, userId, id)
  for (const name of cookieNamesOf(req)) req.res?.clearCookie(name, cookieOptions(req, name))
}

/** Ends the session of a user who no longer exists, and returns the error to throw. */
export async function endSession(req: Request) {
  await logOut(req)
  return kitErrors.E_NOT_LOGGED_IN()
}

/**
 * Only tidies up, so no response waits for it: a list leaves out sessions that have ended. Call it when the record has ended: a live
 * session that is in no list could not be ended by its user.
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
