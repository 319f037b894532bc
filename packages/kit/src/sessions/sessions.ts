import type { SessionData, Store } from 'express-session'
import type { Scope } from '../scope.ts'
import type { UserSessions } from './user-sessions.ts'

declare module 'express-session' {
  interface SessionData {
    /** Who is logged in. A session holds identity only: anything that changes per request would be lost between replicas. */
    userId?: string
    /** When the log-in happened, milliseconds since 1970: the absolute lifetime counts from here. */
    loggedInAt?: number
    /** The id that the session began with, before log-in renewed it; see `sessionOrigin`. */
    origin?: string
    /** In the list of its user's sessions; absent from sessions that began under a version without lists. */
    listed?: true
    /** Tombstone of a session that ended or whose id was renewed: belongs to no user and is never saved. */
    ended?: true
  }
}

declare global {
  namespace Express {
    interface Request {
      /** The request names a session that could not be read. It is not anonymous: what needs to know answers 503. */
      sessionUnavailable?: boolean
    }
  }
}

/** Where sessions are kept. */
export interface SessionStore {
  scope: Scope
  /**
   * `get` renews the idle time when a tenth of it has passed, in the same round trip; there is no `touch`.
   * For a minute after `destroy(id)`, `set(id)` does nothing: a slow request cannot bring back what was logged out. And
   * `get(id)` returns `endedSession`: a request that left before the log-in was answered still has the old cookie;
   * were it given a new session, its answer would replace the cookie that log-in has just set.
   */
  store: Store
  /**
   * As `destroy(id)`, for a log-in of this user. Resolves with whether what is kept beside the session is theirs from now on: of
   * several log-ins at once with one cookie, those of one user. `false` when the session had ended in any other way.
   */
  claim(id: string, userId: string): Promise<boolean>
  ofUser: UserSessions
}

export interface SessionStoreOptions {
  /** A session that is not used for this long is over. Default: one day. */
  idleMs?: number
  /** The same for a visitor who has not logged in, since anyone can create such sessions. Default: one hour. */
  visitorIdleMs?: number
  /** How long the id of an ended session stays barred; longer than any request may take. */
  barredMs?: number
  /** However much it is used, a log-in ends after this long. Default: one week. */
  absoluteLifetimeMs?: number
  /** Sessions of one user at a time; one more ends the oldest. Default: 100. */
  maxPerUser?: number
}

export const sessionDefaults = {
  idleMs: 24 * 3_600_000,
  visitorIdleMs: 3_600_000,
  barredMs: 60_000,
  absoluteLifetimeMs: 7 * 24 * 3_600_000,
  maxPerUser: 100,
}

export const endedSession = { cookie: { originalMaxAge: null }, ended: true } as unknown as SessionData
