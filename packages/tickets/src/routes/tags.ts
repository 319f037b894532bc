import { createHash } from 'node:crypto'

/** An `ETag` of the whole answer. */
export function tagOf(body: unknown): string {
  return `"${createHash('sha1').update(JSON.stringify(body)).digest('base64url')}"`
}

/** `If-None-Match` compares weakly (RFC 9110, 13.1.2): a proxy that compresses makes the tag a weak one. */
export function matches(header: string | undefined, tag: string): boolean {
  if (header === undefined) return false
  return header.split(',').some((part) => part.trim() === '*' || part.trim().replace(/^W\//, '') === tag)
}
