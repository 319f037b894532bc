import { createHash } from 'node:crypto'

/** A session as the list of its user has it. */
export interface ListedSession {
  /** Id of the session; it never leaves the server. */
  id: string
  /** In milliseconds since 1970, as is `lastSeenAt`. */
  createdAt: number
  /** The header of the log-in, cut to 200 characters; empty for a session that began under an older version. */
  userAgent: string
  /** See `sessionOrigin`. */
  origin: string
}

export interface UserSession extends ListedSession {
  /** Time of the last use that renewed the session: up to a tenth of the idle time before the last use. */
  lastSeenAt: number
}

/**
 * The sessions of each user, so that they can be listed and ended. Ending one ends its record, which every replica reads with
 * each request. Throws `E_REDIS_UNAVAILABLE`.
 */
export interface UserSessions {
  /** Lists a session that begins now, and ends the oldest beyond `maxPerUser`. */
  add(userId: string, session: ListedSession): Promise<void>
  /**
   * Lists a session that began under a version without lists. Returns `false` if the user has ended all sessions since it began, so
   * that it must end, too.
   */
  adopt(userId: string, session: ListedSession): Promise<boolean>
  /** Returns those that are live, in no order. */
  list(userId: string): Promise<UserSession[]>
  /** Removes a session that has ended from the list. */
  forget(userId: string, id: string): Promise<void>
  /** Ends the session with this handle and returns it, or returns `undefined` if the user has no such session. */
  end(userId: string, handle: string): Promise<ListedSession | undefined>
  /** Ends every session except `exceptId`, including those that are not listed yet. Returns the listed ones. */
  endAll(userId: string, exceptId?: string): Promise<ListedSession[]>
}

export const maxUserAgentLength = 200

/** Returns the public name of a session, in the form of a UUID. It is as random as the id, and does not lead back to it. */
export function handleOf(id: string): string {
  const hex = createHash('sha256').update(`session handle\n${id}`).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}
