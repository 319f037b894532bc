import type { Scope } from '../scope.ts'

export interface Upload {
  /** Determined by its first bytes, whatever the sender declared. */
  contentType: string
  data: Buffer
  /** Changes with the data; an `ETag` without its quotes. */
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
  /** The type that the sender declared; the file is refused if it has another type. */
  contentType?: string
}

/** Files that clients send, small enough to be held in memory. A key is letters, digits, `_` and `-`, in parts between `/`. */
export interface Uploads {
  scope: Scope
  /**
   * Stores a file, and replaces an earlier one completely or not at all. Throws `E_BODY_TOO_LARGE` as soon as it exceeds `maxBytes`,
   * `E_UNSUPPORTED_MEDIA_TYPE` as soon as its first bytes are of none of `types`, and the code of a store that is unreachable.
   */
  put(key: string, body: UploadBody, options: PutOptions): Promise<Omit<Upload, 'data'>>
  /** Returns the file, or `undefined` if there is none. Throws the code of a store that is unreachable. */
  get(key: string): Promise<Upload | undefined>
}
