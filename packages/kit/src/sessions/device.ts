import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Request, Response } from 'express'
import { cookieValues } from './cookie.ts'
import { cookieNamesOf, cookieOptions, needsHttps } from './request-cookies.ts'

export interface DeviceCookieOptions {
  /** The first signs, all verify. */
  secrets: string[]
  /** Only requests to this path carry the cookie. */
  path: string
  /** Default: 30 days. */
  lifetimeMs?: number
}

export interface DeviceCookies {
  /** Returns an identifier of the device if it logged in to this account before, and `undefined` otherwise. */
  read(req: Request, account: string): string | undefined
  /** Marks the device as one that logged in to this account just now. */
  remember(req: Request, res: Response, account: string): void
  /** Takes every device cookie from the client: its account was deleted. */
  clear(req: Request, res: Response): void
}

// Accounts that one device is known for; the one that logged in longest ago is forgotten first.
const maxAccounts = 4
const pattern = /^([0-9a-z]{1,10})\.([\w-]{22})\.([\w-]{43})$/

/**
 * A cookie that does not log anyone in: it shows that a device has logged in to an account before, so that it can be counted apart
 * from strangers who guess that account's password. It names no account, and nothing is stored.
 * See "device cookies" in OWASP's page on slowing down online guessing attacks.
 */
export function createDeviceCookies(options: DeviceCookieOptions): DeviceCookies {
  const { secrets, path, lifetimeMs = 30 * 24 * 3_600_000 } = options
  const [signingSecret = ''] = secrets

  const isSigned = (account: string, issued: string, nonce: string, signature: string) =>
    secrets.some((secret) => {
      const [right, given] = [sign(secret, account, issued, nonce), signature].map((text) => Buffer.from(text))
      return (
        right !== undefined && given !== undefined && right.length === given.length && timingSafeEqual(right, given)
      )
    })
  const tokensOf = (req: Request) =>
    namesOf(req)
      .flatMap((name) => cookieValues(req.headers.cookie, name))
      .flatMap((value) => value.split('~').slice(0, maxAccounts))
  const find = (req: Request, account: string) =>
    tokensOf(req)
      .slice(0, 2 * maxAccounts)
      .find((token) => {
        const [, issued = '', nonce = '', signature = ''] = pattern.exec(token) ?? []
        const ageMs = Date.now() - Number.parseInt(issued, 36)
        return ageMs >= -60_000 && ageMs < lifetimeMs && isSigned(account, issued, nonce, signature)
      })

  return {
    read: (req, account) => find(req, account)?.split('.')[1],
    remember(req, res, account) {
      const old = find(req, account)
      const issued = Date.now().toString(36)
      const nonce = old?.split('.')[1] ?? randomBytes(16).toString('base64url') // its tries stay counted
      const token = `${issued}.${nonce}.${sign(signingSecret, account, issued, nonce)}`
      const others = tokensOf(req).filter((other) => other !== old && pattern.test(other))
      const [name = ''] = namesOf(req)
      res.cookie(name, [token, ...others].slice(0, maxAccounts).join('~'), {
        ...cookieOptions(req, name),
        path,
        maxAge: lifetimeMs,
      })
    },
    clear(req, res) {
      for (const name of namesOf(req)) res.clearCookie(name, { ...cookieOptions(req, name), path })
    },
  }
}

/** As the session's cookie: the first is written, all are read. `__Host-` would demand the path `/`. */
function namesOf(req: Request): string[] {
  return [...new Set(cookieNamesOf(req).map((name) => (needsHttps(name) ? '__Secure-device' : 'device')))]
}

function sign(secret: string, account: string, issued: string, nonce: string): string {
  return createHmac('sha256', secret).update(`device\n${account}\n${issued}\n${nonce}`).digest('base64url')
}
