import { createHmac, timingSafeEqual } from 'node:crypto'
import { LRUCache } from 'lru-cache'

export const cookieName = 'sid'

/** Reads the session id from a `Cookie` header; `undefined` unless one of the secrets has signed it. Asks no store. */
export function createCookieReader(secrets: string[]): (header: string | undefined) => string | undefined {
  // A client sends the same cookie with each request. Only what was verified is kept: forgeries must not push it out.
  const verified = new LRUCache<string, string>({ max: 5000 })
  return (header) => {
    const raw = header === undefined ? undefined : pattern.exec(header)?.[1]
    if (raw === undefined || raw.length > 400) return undefined
    const known = verified.get(raw)
    if (known !== undefined) return known
    const id = verify(raw, secrets)
    if (id !== undefined) verified.set(raw, id)
    return id
  }
}

const pattern = new RegExp(`(?:^|;)\\s*${cookieName}\\s*=\\s*"?([^;"\\s]*)`)

/** The form of express-session: `s:<id>.<signature>`, percent-encoded. */
function verify(raw: string, secrets: string[]): string | undefined {
  const value = decode(raw)
  const dot = value.lastIndexOf('.')
  if (!value.startsWith('s:') || dot < 3) return undefined
  const id = value.slice(2, dot)
  const given = Buffer.from(value.slice(dot + 1))
  for (const secret of secrets) {
    const right = Buffer.from(createHmac('sha256', secret).update(id).digest('base64').replace(/=+$/, ''))
    if (right.length === given.length && timingSafeEqual(right, given)) return id
  }
  return undefined
}

function decode(raw: string): string {
  try {
    return decodeURIComponent(raw)
  } catch {
    return ''
  }
}
