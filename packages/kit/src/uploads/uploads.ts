import type { Scope } from '../scope.ts'

export interface Upload {
  /** By its first bytes, whatever its sender said. */
  contentType: string
  data: Buffer
  /** Changes with the data: an `ETag` without its quotes. */
  tag: string
}

export type UploadBody = AsyncIterable<Uint8Array> | Iterable<Uint8Array>

export interface PutOptions {
  maxBytes: number
  /**
   * `images`, the default: PNG, JPEG, WebP and GIF, known by their first bytes. `any`: everything, as `application/octet-stream` unless it
   * is such an image: send it as an attachment (`sendAttachment`).
   */
  types?: 'images' | 'any'
  /** What the sender says it is: refused when it is something else. */
  contentType?: string
}

/** Files that clients send, small enough to be held in memory. A key is letters, digits, `_` and `-`, in parts between `/`. */
export interface Uploads {
  scope: Scope
  /**
   * Replaces what was there, as a whole or not at all. Throws `E_BODY_TOO_LARGE` as soon as it is more than `maxBytes`,
   * `E_UNSUPPORTED_MEDIA_TYPE` as soon as its beginning is none of `types`, and the code of a store that is unreachable.
   */
  put(key: string, body: UploadBody, options: PutOptions): Promise<Omit<Upload, 'data'>>
  get(key: string): Promise<Upload | undefined>
}
