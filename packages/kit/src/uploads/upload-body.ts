import { createHash } from 'node:crypto'
import { kitErrors } from '../errors/errors.ts'
import type { PutOptions, Upload, UploadBody } from './uploads.ts'

/** What no browser shows by itself. */
export const anyType = 'application/octet-stream'

/** Enough of a file to recognise every accepted type. */
const headBytes = 12

const wellFormed = /^[\w-]+(\/[\w-]+)*$/

/** Keys are made by code, of ids. One that is not is a mistake, before it becomes a path. */
export function checkKey(key: string): string {
  if (!wellFormed.test(key)) throw new Error(`not a key for an upload: ${key}`)
  return key
}

/** Reads a body to its end, or until it is clear that it will be refused. */
export async function receive(
  body: UploadBody,
  { maxBytes, contentType: said, types = 'images' }: PutOptions,
): Promise<Upload> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  let contentType: string | undefined
  const check = (head: Buffer) => (types === 'any' ? (typeOf(head) ?? anyType) : checkType(head, said))
  for await (const chunk of withoutEnding(body)) {
    bytes += chunk.byteLength
    if (bytes > maxBytes) throw kitErrors.E_BODY_TOO_LARGE({ detail: `at most ${maxBytes} bytes` })
    chunks.push(chunk)
    if (bytes >= headBytes) contentType ??= check(Buffer.concat(chunks))
  }
  const data = Buffer.concat(chunks)
  contentType ??= check(data)
  return { contentType, data, tag: tagOf(data) }
}

export function tagOf(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('base64url').slice(0, 27)
}

function checkType(head: Buffer, said: string | undefined): string {
  const found = typeOf(head)
  if (found === undefined) throw kitErrors.E_UNSUPPORTED_MEDIA_TYPE({ detail: 'send a PNG, JPEG, WebP or GIF image' })
  if (said !== undefined && said !== found) {
    throw kitErrors.E_UNSUPPORTED_MEDIA_TYPE({ detail: `the image is ${found}, and not what Content-Type says` })
  }
  return found
}

/** The image type by its first bytes. A name or a header can say anything; no other type is ever given out. */
export function typeOf(head: Buffer): string | undefined {
  const starts = (bytes: string) => head.subarray(0, bytes.length).toString('latin1') === bytes
  if (starts('\x89PNG\r\n\x1a\n')) return 'image/png'
  if (starts('\xff\xd8\xff')) return 'image/jpeg'
  if (starts('GIF87a') || starts('GIF89a')) return 'image/gif'
  if (starts('RIFF') && head.subarray(8, 12).toString('latin1') === 'WEBP') return 'image/webp'
  return undefined
}

/** Leaving the loop early would destroy the request's stream, and with it the connection that the refusal must travel on. */
function withoutEnding(body: UploadBody): UploadBody {
  const stream = body as { iterator?(options: { destroyOnReturn: boolean }): AsyncIterable<Uint8Array> }
  return stream.iterator?.({ destroyOnReturn: false }) ?? body
}
