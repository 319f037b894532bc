import { hash } from 'node:crypto'
import { kitErrors } from '../errors/errors.ts'

export const maxKeyLength = 255

// draft-ietf-httpapi-idempotency-key-header-07 wants a quoted string (RFC 9651, 3.3.3). Most clients send the key bare.
const quoted = /^"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"$/
const bare = /^[\x21\x23-\x7e][\x21-\x7e]*$/

/**
 * The key of an `Idempotency-Key` header: `"k"` and `k` are the same key.
 * Throws `E_IDEMPOTENCY_KEY_MISSING`, or `E_VALIDATION` when it is neither form or longer than 255 characters.
 */
export function parseKey(header: string | string[] | undefined): string {
  const text = (Array.isArray(header) ? header.join(', ') : (header ?? '')).trim()
  if (text === '') throw kitErrors.E_IDEMPOTENCY_KEY_MISSING()
  const inside = quoted.exec(text)?.[1]
  const key = inside === undefined ? text : inside.replace(/\\(.)/g, '$1')
  if (key === '') throw kitErrors.E_IDEMPOTENCY_KEY_MISSING()
  if ((inside === undefined && !bare.test(text)) || key.length > maxKeyLength) {
    const rule = `one key of at most ${maxKeyLength} printable ASCII characters, bare or as a quoted string`
    throw kitErrors.E_VALIDATION({ fields: { 'Idempotency-Key': rule } })
  }
  return key
}

/** Equal for requests that mean the same: the order of a body's fields does not count. Bytes are taken as they are. */
export function fingerprint(method: string, path: string, body: unknown): string {
  const head = `${method.toUpperCase()} ${path}\n`
  if (body instanceof Uint8Array) return hash('sha256', Buffer.concat([Buffer.from(head), body]), 'base64url')
  return hash('sha256', `${head}${JSON.stringify(sorted(body)) ?? ''}`, 'base64url')
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  // A null prototype, so that a field named `__proto__` is a field like any other.
  const result: Record<string, unknown> = Object.create(null)
  for (const [key, inner] of entries) result[key] = sorted(inner)
  return result
}
