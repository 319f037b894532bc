import { createHash } from 'node:crypto'
import type { Request, RequestHandler } from 'express'

/** A token that was found: whose it is, and what it may do. */
export interface Bearer {
  userId: string
  scopes: string[]
}

/** Looks a token up for each request, so that one that was revoked is refused at once. `undefined`: unknown, revoked or expired. */
export type FindBearer = (secret: string) => Promise<Bearer | undefined>

const bearers = new WeakMap<Request, Bearer | 'invalid'>()
const failures = new WeakMap<Request, unknown>()

/** Returns whether the request has a token, valid or not. */
export function hasBearer(req: Request): boolean {
  return secretOf(req) !== undefined
}

/**
 * `undefined`: the request has no token. `invalid`: it has one that is worth nothing, or that was not looked up, which does not
 * make it anonymous.
 */
export function bearerOf(req: Request): Bearer | 'invalid' | undefined {
  return bearers.get(req)
}

/** Why the request's token could not be looked up. */
export function bearerFailure(req: Request): unknown {
  return failures.get(req)
}

/** The user of a valid token. */
export function bearerUser(req: Request): string | undefined {
  const bearer = bearerOf(req)
  return bearer === 'invalid' ? undefined : bearer?.userId
}

/** Returns a key for the request's token, if it is valid, that may be stored. */
export function bearerKey(req: Request): string | undefined {
  const secret = bearerUser(req) === undefined ? undefined : secretOf(req)
  return secret === undefined ? undefined : `token:${createHash('sha256').update(secret).digest('base64url')}`
}

/**
 * Wraps the session's middleware: a request with `Authorization: Bearer` uses the token, which `settleBearer` looks up, and ignores
 * every cookie. Other schemes are ignored.
 */
export function withBearers(session: RequestHandler): RequestHandler {
  return (req, res, next) => {
    if (hasBearer(req)) {
      delete req.headers.cookie
      bearers.set(req, 'invalid')
    }
    session(req, res, next)
  }
}

/**
 * Looks the request's token up; not before its address has passed its limit, since anyone can make tokens up. `undefined`: there is
 * nothing to look up, and nothing to wait for. A lookup that fails refuses nothing here: not every route needs the token.
 */
export function settleBearer(req: Request, find: FindBearer): Promise<void> | undefined {
  const secret = secretOf(req)
  if (secret === undefined || !wellFormed.test(secret)) return undefined
  return find(secret).then(
    (bearer) => void bearers.set(req, bearer ?? 'invalid'),
    (error) => void failures.set(req, error),
  )
}

const wellFormed = /^[\w-]{20,100}$/

function secretOf(req: Request): string | undefined {
  const { authorization } = req.headers
  return authorization !== undefined && /^bearer(?: |$)/i.test(authorization)
    ? authorization.slice(7).trim()
    : undefined
}
