import type { CookieOptions, Request } from 'express'
import { defaultCookieName, type SignedCookie } from './cookie.ts'
import type { SessionStore } from './sessions.ts'

/** What the middleware knows about a request's cookies. */
export interface CookieState {
  /** The cookie whose session the request uses. */
  chosen: SignedCookie | undefined
  /** Ids of further sessions that the request named and the store knew. */
  others: string[]
  cookieNames: string[]
  sameSite: SameSite
  /** Whether the session that begins now is a visitor's who has not logged in. */
  isVisitor: boolean
  /** Called before a visitor's session begins; when it rejects, none begins. */
  onVisitor: ((req: Request) => Promise<void>) | undefined
  sessions: Pick<SessionStore, 'claim' | 'ofUser'>
}

/** `none` lets pages of other sites send the cookie, and needs HTTPS. */
export type SameSite = 'lax' | 'none'

const state = Symbol('what is known about the cookies')
type KnownRequest = Request & { [state]?: CookieState }
const stateOf = (req: Request) => (req as KnownRequest)[state]
const visitorPrefix = 'a.' // no random id has a dot

export function rememberCookies(req: Request, known: CookieState): void {
  ;(req as KnownRequest)[state] = known
}

/**
 * Returns the id in the request's signed cookie; says nothing about whether such a session exists. Known once the
 * session middleware has begun; of several cookies, it is the first until the store has been asked.
 */
export function sessionKey(req: Request): string | undefined {
  return stateOf(req)?.chosen?.id
}

/** Returns the key of `sessionKey`, unless its id shows that it belongs to a visitor. */
export function logInKey(req: Request): string | undefined {
  const id = sessionKey(req)
  return id?.startsWith(visitorPrefix) ? undefined : id
}

/** Ids of further sessions that the request's cookies named and the store knew. */
export function otherSessions(req: Request): string[] {
  return stateOf(req)?.others ?? []
}

export function cookieNamesOf(req: Request): string[] {
  return stateOf(req)?.cookieNames ?? [defaultCookieName]
}

export function cookieOptions(req: Request, name: string): CookieOptions {
  return { path: '/', httpOnly: true, sameSite: sameSiteOf(req), secure: isAlwaysSecure(req, name) || req.secure }
}

function sameSiteOf(req: Request): SameSite {
  return stateOf(req)?.sameSite ?? 'lax'
}

/** Returns whether the request's cookies of this name are sent over HTTPS only. */
export function isAlwaysSecure(req: Request, name: string): boolean {
  return needsHttps(name) || sameSiteOf(req) === 'none'
}

/** Browsers take a cookie with such a name only with `Secure`. */
export function needsHttps(name: string): boolean {
  return name.startsWith('__Host-') || name.startsWith('__Secure-')
}

/** Prefix of the id of a visitor's session: shows that no log-in has happened with it. */
export function idPrefix(req: Request): string {
  return stateOf(req)?.isVisitor ? visitorPrefix : ''
}

/** Throws what the application's bound of visitors' sessions throws. */
export async function admitVisitor(req: Request): Promise<void> {
  await stateOf(req)?.onVisitor?.(req)
}

/** Ends the session that the request came with; see `SessionStore.claim`. */
export async function claimSession(req: Request, userId: string): Promise<boolean> {
  return (await stateOf(req)?.sessions.claim(req.sessionID, userId)) ?? false
}

/** The lists of sessions that go with the request's own. */
export function userSessionsOf(req: Request): SessionStore['ofUser'] | undefined {
  return stateOf(req)?.sessions.ofUser
}

/** What `begin` begins is a visitor's session. */
export function asVisitor(req: Request, begin: () => void): void {
  const known = stateOf(req)
  if (known) known.isVisitor = true
  begin()
  if (known) known.isVisitor = false
}
