import { createHmac, timingSafeEqual } from 'node:crypto'
import { LRUCache } from 'lru-cache'

export const defaultCookieName = 'sid'

/** A cookie whose signature is right. This says nothing about whether its session exists. */
export interface SignedCookie {
  name: string
  /** As it was sent: still percent-encoded. */
  raw: string
  id: string
}

// A client can send a name several times: with other paths, or from a parent domain. Each costs one read of the store.
const maxCookies = 8
// Each costs a signature, in a header that has room for thousands of forgeries.
const maxTried = 64
const maxLength = 400

/**
 * Creates the only reader of session cookies: returns the cookies of `names` that one of the secrets has signed, at most
 * eight of the first 64, those of the first name first. Asks no store.
 */
export function createCookieReader(
  secrets: string[],
  names: string[] = [defaultCookieName],
): (header: string | undefined) => SignedCookie[] {
  // A client sends the same cookie with each request. Only what was verified is kept: forgeries must not push it out.
  const verified = new LRUCache<string, string>({ max: 5000 })
  const verifyOnce = (raw: string) => {
    const known = verified.get(raw)
    if (known !== undefined) return known
    const id = verify(raw, secrets)
    if (id !== undefined) verified.set(raw, id)
    return id
  }
  return (header) => {
    if (header === undefined || !names.some((name) => header.includes(name))) return []
    const found = new Map<string, SignedCookie>()
    const pairs = header.split(';').map(splitPair)
    let tried = 0
    for (const wanted of names) {
      for (const [name, raw] of pairs) {
        if (name !== wanted || raw.length > maxLength || found.size >= maxCookies || tried >= maxTried) continue
        tried++
        const id = verifyOnce(raw)
        if (id !== undefined && !found.has(id)) found.set(id, { name, raw, id })
      }
    }
    return [...found.values()]
  }
}

/** Returns every value of a cookie as it was sent. */
export function cookieValues(header: string | undefined, name: string): string[] {
  if (header === undefined || !header.includes(name)) return []
  return header.split(';').flatMap((pair) => {
    const [found, value] = splitPair(pair)
    return found === name ? [value] : []
  })
}

function splitPair(pair: string): [name: string, value: string] {
  const equals = pair.indexOf('=')
  if (equals === -1) return ['', '']
  const [name, value] = [withoutBlanks(pair.slice(0, equals)), withoutBlanks(pair.slice(equals + 1))]
  return [name, value.length > 1 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value]
}

/**
 * Trims spaces and tabs only: `trim()` would also take a no-break space for one, which no browser does. Not with a regular
 * expression, whose time grows with the square of the blanks within a value.
 */
function withoutBlanks(text: string): string {
  let [from, to] = [0, text.length]
  while (from < to && isBlank(text[from])) from++
  while (to > from && isBlank(text[to - 1])) to--
  return text.slice(from, to)
}

const isBlank = (character: string | undefined) => character === ' ' || character === '\t'

// The same secrets sign other things as well, and none of those may pass for a session.
const idPattern = /^[\w.-]+$/

/** The form of express-session: `s:<id>.<signature>`, percent-encoded. */
function verify(raw: string, secrets: string[]): string | undefined {
  const value = decode(raw)
  const dot = value.lastIndexOf('.')
  if (!value.startsWith('s:') || dot < 3) return undefined
  const id = value.slice(2, dot)
  if (!idPattern.test(id)) return undefined
  const given = Buffer.from(value.slice(dot + 1))
  for (const secret of secrets) {
    const right = Buffer.from(createHmac('sha256', secret).update(id).digest('base64').replace(/=+$/, ''))
    if (right.length === given.length && timingSafeEqual(right, given)) return id
  }
  return undefined
}

export function decode(raw: string): string {
  try {
    return decodeURIComponent(raw)
  } catch {
    return ''
  }
}
