import { hash } from 'node:crypto'
import { ticketErrors } from '../errors.ts'

/** A strong `ETag` of the whole response, whatever the order of its fields. It begins with the version that `If-Match` compares: `"3-<hash>"`. */
export function tagOf(body: { version: number }): string {
  const fields = Object.entries(body).sort(([one], [other]) => (one < other ? -1 : 1))
  return `"${body.version}-${hash('sha1', JSON.stringify(fields), 'base64url')}"`
}

/** `If-None-Match` compares weakly (RFC 9110, 13.1.2): NGINX makes the tag of what it compresses a weak one. */
export function matches(header: string | undefined, tag: string): boolean {
  if (header === undefined) return false
  return header.split(',').some((part) => part.trim() === '*' || part.trim().replace(/^W\//, '') === tag)
}

/**
 * The versions that an `If-Match` names: `"3"`, or any tag of a response, `"3-<hash>"`, of which the version alone counts. So a
 * tag that a proxy has weakened by compressing (`W/"3-<hash>"`) says as much. `*` and anything else match no version.
 * Throws `E_VERSION_MISSING` when there is no header.
 */
export function parseVersions(header: string | undefined): number[] {
  if (header === undefined || header.trim() === '') throw ticketErrors.E_VERSION_MISSING()
  return header.split(',').flatMap((part) => {
    const [, tag, bare] = /^(?:(?:W\/)?"(\d{1,9})(?:-[\w-]*)?"|(\d{1,9}))$/.exec(part.trim()) ?? []
    const version = tag ?? bare
    return version === undefined ? [] : [Number(version)]
  })
}
