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

/** `undefined`: the request has no token. `invalid`: it has one that is worth nothing, which does not make it anonymous. */
export function bearerOf(req: Request): Bearer | 'invalid' | undefined {
  return bearers.get(req)
}

/** The user of a valid token. */
export function bearerUser(req: Request): string | undefined {
  const bearer = bearerOf(req)
  return bearer === 'invalid' ? undefined : bearer?.userId
}

/** Returns a key for the request's token, valid or not, that may be stored. */
export function bearerKey(req: Request): string | undefined {
  const secret = secretOf(req)
  return secret === undefined ? undefined : `token:${createHash('sha256').update(secret).digest('base64url')}`
}

/**
 * Wraps the session's middleware: a request with `Authorization: Bearer` uses the token and ignores every cookie. Other schemes
 * are ignored.
 */
export function withBearers(session: RequestHandler, find: FindBearer): RequestHandler {
  return (req, res, next) => {
    const secret = secretOf(req)
    if (secret === undefined) return session(req, res, next)
    delete req.headers.cookie
    session(req, res, (error?: unknown) => {
      if (error) return next(error)
      const found = wellFormed.test(secret) ? find(secret) : Promise.resolve(undefined)
      found.then((bearer) => {
        bearers.set(req, bearer ?? 'invalid')
        next()
      }, next)
    })
  }
}

const wellFormed = /^[\w-]{20,100}$/

function secretOf(req: Request): string | undefined {
  const { authorization } = req.headers
  return authorization !== undefined && /^bearer(?: |$)/i.test(authorization)
    ? authorization.slice(7).trim()
    : undefined
}
