import type { SessionData, Store } from 'express-session'
import type { Scope } from '../scope.ts'
import type { UserSessions } from './user-sessions.ts'

declare module 'express-session' {
  interface SessionData {
    /** The user who is logged in. A session holds identity only: parallel requests on two replicas would overwrite anything else. */
    userId?: string
    /** Time of the log-in, in milliseconds since 1970: the absolute lifetime counts from here. */
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
      /** Whether the request names a session that could not be read. It is not anonymous: a route that needs the user responds with 503. */
      sessionUnavailable?: boolean
    }
  }
}

/** Where sessions are kept. */
export interface SessionStore {
  scope: Scope
  /**
   * `get` renews the idle time once a tenth of it has passed, in the same round trip; there is no `touch`.
   * For `barredMs` after `destroy(id)`, `set(id)` does nothing, so that a slow request cannot bring back a session that was logged out,
   * and `get(id)` returns `endedSession`: a request that the client sent before the response to its log-in arrived has the old cookie, and a new
   * session for it would replace the cookie that the log-in has just set. Each call fails with `E_REDIS_UNAVAILABLE` if the store is unreachable.
   */
  store: Store
  /**
   * As `destroy(id)`, for a log-in of this user. Resolves with whether the user takes over what is kept beside the session: of several
   * simultaneous log-ins with one cookie, only those of one user do, and none do if the session had ended in another way.
   */
  claim(id: string, userId: string): Promise<boolean>
  ofUser: UserSessions
}

export interface SessionStoreOptions {
  /** A session ends when it is unused for this long, in milliseconds. Default: one day. */
  idleMs?: number
  /** The same for a visitor who has not logged in; shorter, since anyone can create such sessions. Default: one hour. */
  visitorIdleMs?: number
  /** How long the id of an ended session stays barred, in milliseconds. It must be longer than any request. Default: one minute. */
  barredMs?: number
  /** A log-in ends after this long, in milliseconds, however much it is used. Default: one week. */
  absoluteLifetimeMs?: number
  /** Most sessions of one user at a time; one more ends the oldest. Default: 100. */
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
