import { AwsClient } from 'aws4fetch'
import { kitErrors } from '../errors/errors.ts'
import { anyType, checkKey, receive, tagOf, typeOf } from './upload-body.ts'
import type { Uploads } from './uploads.ts'

export interface S3UploadsOptions {
  /** Address of the bucket: `https://bucket.s3.eu-west-1.amazonaws.com` or `https://storage.example/bucket`. */
  bucketUrl: string
  accessKeyId: string
  secretAccessKey: string
  region: string
  /** Longest time for one try; reads and writes are repeated once, both are harmless. */
  timeoutMs?: number
  /** More than this of a stored object is not read. */
  maxObjectBytes?: number
}

/** Anything that speaks S3. Throws `E_STORAGE_UNAVAILABLE`. */
export function createS3Uploads(options: S3UploadsOptions): Uploads {
  const { bucketUrl, timeoutMs = 4000, maxObjectBytes = 16_777_216, ...credentials } = options
  const client = new AwsClient({ ...credentials, service: 's3', retries: 0 })
  const addressOf = (key: string) => `${bucketUrl.replace(/\/$/, '')}/${checkKey(key)}`

  const send = async (address: string, init: RequestInit): Promise<Response> => {
    for (let tries = 1; ; tries++) {
      try {
        const answer = await client.fetch(address, { ...init, signal: AbortSignal.timeout(timeoutMs) })
        if (answer.status < 500) return answer
        await answer.body?.cancel()
        throw new Error(`the store answered ${answer.status}`)
      } catch (cause) {
        if (tries === 2) throw kitErrors.E_STORAGE_UNAVAILABLE({ cause, retryAfterMs: 1000 })
      }
    }
  }
  const refused = (answer: Response) =>
    kitErrors.E_STORAGE_UNAVAILABLE({ cause: new Error(`the store answered ${answer.status}`), retryAfterMs: 1000 })

  return {
    scope: 'cluster',
    async put(key, body, options) {
      const address = addressOf(key)
      const { contentType, tag, data } = await receive(body, options)
      const answer = await send(address, {
        method: 'PUT',
        body: new Uint8Array(data),
        headers: { 'Content-Type': contentType },
      })
      await answer.body?.cancel()
      if (!answer.ok) throw refused(answer)
      return { contentType, tag }
    },
    async get(key) {
      const answer = await send(addressOf(key), { method: 'GET' })
      if (answer.status === 404) return void (await answer.body?.cancel())
      if (!answer.ok) throw refused(answer)
      const data = await readBody(answer, maxObjectBytes)
      return { contentType: typeOf(data) ?? anyType, tag: tagOf(data), data }
    },
  }
}

/** The signal of the request ends this, too. */
async function readBody(answer: Response, maxBytes: number): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  try {
    for await (const chunk of answer.body ?? []) {
      bytes += chunk.byteLength
      if (bytes > maxBytes) throw new Error(`the store answered more than ${maxBytes} bytes`)
      chunks.push(chunk)
    }
    return Buffer.concat(chunks)
  } catch (cause) {
    throw kitErrors.E_STORAGE_UNAVAILABLE({ cause, retryAfterMs: 1000 })
  }
}
