import { once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface ListenOptions {
  /** Default 127.0.0.1: a fake must not be reachable from elsewhere by accident. */
  host?: string
  /** Default: any free port. */
  port?: number
}

export interface Listening {
  url: string
  port: number
  stop(): Promise<void>
}

/** An HTTP server for a fake peer; `stop` also ends requests that it left hanging. */
export async function listen(listener: RequestListener, options: ListenOptions = {}): Promise<Listening> {
  const { host = '127.0.0.1', port = 0 } = options
  // Longer than any client keeps a connection, so that it is never this side that closes under a request.
  const server = createServer({ keepAliveTimeout: 75_000 }, listener)
  server.listen(port, host)
  await once(server, 'listening')
  const { port: actual } = server.address() as AddressInfo
  return {
    url: `http://${host === '0.0.0.0' ? '127.0.0.1' : host}:${actual}`,
    port: actual,
    async stop() {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}

export function answer(res: ServerResponse, status: number, body: unknown): void {
  res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}

/** The JSON of a request; `undefined` when it is none. */
export async function readJson(req: IncomingMessage): Promise<Record<string, unknown> | undefined> {
  const chunks: Buffer[] = []
  for await (const chunk of req) chunks.push(chunk)
  try {
    return JSON.parse(Buffer.concat(chunks).toString())
  } catch {
    return undefined
  }
}
