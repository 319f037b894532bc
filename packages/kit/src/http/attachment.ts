import type { Response } from 'express'

export interface SentFile {
  data: Buffer
  contentType: string
  /** Changes with the data: an `ETag` without its quotes. */
  tag: string
  /** What a browser saves it as. */
  name: string
}

/**
 * Sends a file that a user uploaded. It is saved and never shown, whatever it calls itself: HTML that a browser opened would be a page of
 * this API, with its cookies.
 */
export function sendAttachment(res: Response, { data, contentType, tag, name }: SentFile): void {
  res.attachment(name) // quotes the name, in both of its forms
  res.set({
    'Content-Type': contentType,
    'Content-Length': String(data.byteLength),
    'Content-Security-Policy': "default-src 'none'; sandbox",
    'X-Content-Type-Options': 'nosniff',
    ETag: `"${tag}"`,
  })
  res.status(200).end(data)
}
