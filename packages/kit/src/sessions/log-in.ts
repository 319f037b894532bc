import type { Request } from 'express'
import { kitErrors } from '../errors/errors.ts'
import { cookieName } from './cookie.ts'
import { sessionKey } from './middleware.ts'

type Session = Request['session']

/** Throws `E_REDIS_UNAVAILABLE` (503) when the session could not be read. */
export function requireSession(req: Request): Session {
  if (req.sessionUnavailable || !req.session) throw unavailable()
  return req.session
}

/**
 * The key for what is kept beside a session (a cart, say). It stays the same when log-in renews the session's id:
 * nothing has to be moved, and a write that is under way at that moment is not lost.
 */
export function sessionOrigin(req: Request): string {
  return requireSession(req).origin ?? req.sessionID
}

/** Whether the request came with a session that the store knew. */
export function hasStoredSession(req: Request): boolean {
  return requireSession(req).id === sessionKey(req)
}

/**
 * To be awaited before the answer leaves: express-session by itself saves while it answers, so the client's next request
 * can come too early, and a failure comes too late. Throws `E_REDIS_UNAVAILABLE`.
 */
export async function saveSession(req: Request): Promise<void> {
  const session = requireSession(req)
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

/** Renews the session's id: whoever knew the old one is not logged in with it. */
export async function logIn(req: Request, userId: string): Promise<void> {
  const before = requireSession(req)
  const isKnown = hasStoredSession(req)
  // What an anonymous visitor kept beside the session goes along; what another user kept does not.
  const isSameVisitor = before.userId === undefined || before.userId === userId
  const origin = isKnown && isSameVisitor ? sessionOrigin(req) : undefined
  // An id that this request itself has made needs no renewal: nobody knows it.
  if (isKnown) await settled((done) => before.regenerate(done))
  Object.assign(requireSession(req), { userId, loggedInAt: Date.now(), origin })
  await saveSession(req)
}

/** Ends this session, not the user's others. Its id is barred, so that no slow request can save it again. */
export async function logOut(req: Request): Promise<void> {
  const session = requireSession(req)
  if (hasStoredSession(req)) await settled((done) => session.destroy(done))
  req.res?.clearCookie(cookieName, { path: '/', httpOnly: true, sameSite: 'lax', secure: req.secure })
}

async function settled(run: (done: (error?: unknown) => void) => unknown): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => run((error) => (error ? reject(error) : resolve())))
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
