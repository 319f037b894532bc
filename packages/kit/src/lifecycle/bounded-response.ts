import { type IncomingMessage, ServerResponse } from 'node:http'

/** Logs that the head of a response is too large, and returns the JSON problem that is sent instead, with status 500. */
export type OnLargeHead = (req: IncomingMessage, res: ServerResponse, bytes: number) => string

/** Well below NGINX's `proxy_buffer_size`. */
export const maxHeadBytes = 8 * 1024

const kept = new Set(['connection', 'x-request-id', 'x-replica-id', 'x-content-type-options'])

/**
 * A response whose head cannot exceed `maxHeadBytes`: it becomes a 500, and what its handler writes is dropped. A proxy
 * would count a head that is too large for it as a failure of the replica, and would soon ask none of them any more.
 */
export function boundedResponse(onLargeHead: OnLargeHead): typeof ServerResponse {
  class BoundedResponse<Request extends IncomingMessage = IncomingMessage> extends ServerResponse<Request> {
    /** The head as Node has written it; undocumented, and what morgan and on-headers look at. */
    declare _header: string | null
    #replaced = false

    // biome-ignore lint/suspicious/noExplicitAny: three signatures, all handed on
    override writeHead(...args: any[]): this {
      super.writeHead(...(args as [number]))
      const bytes = this._header?.length ?? 0 // not sent yet: Node sends it with the first piece of the body
      return bytes > maxHeadBytes ? this.#replace(bytes) : this
    }

    #replace(bytes: number): this {
      Object.assign(this, { _header: null, chunkedEncoding: false })
      const body = onLargeHead(this.req, this, bytes)
      for (const name of this.getHeaderNames()) if (!kept.has(name)) this.removeHeader(name)
      this.setHeader('Content-Type', 'application/problem+json')
      this.setHeader('Content-Length', Buffer.byteLength(body))
      this.setHeader('Cache-Control', 'private, no-store')
      super.writeHead(500, 'Internal Server Error')
      super.write(body)
      this.#replaced = true
      // As for HEAD: the write or end that this head belongs to goes on behind it, and must add nothing.
      Object.assign(this, { _hasBody: false })
      setImmediate(() => super.end()) // a stream's handler would not end it for a long time
      return this
    }

    // biome-ignore lint/suspicious/noExplicitAny: several signatures, all handed on
    override write(...args: any[]): boolean {
      return this.#replaced || super.write(...(args as [string]))
    }

    // biome-ignore lint/suspicious/noExplicitAny: several signatures, all handed on
    override end(...args: any[]): this {
      return this.#replaced ? super.end() : super.end(...(args as [string]))
    }
  }
  return BoundedResponse
}
