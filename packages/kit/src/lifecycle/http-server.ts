import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type ServerOptions,
  type ServerResponse,
} from 'node:http'
import type { Socket } from 'node:net'
import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises'
import { boundedResponse } from './bounded-response.ts'
import { createListener } from './listener.ts'

export interface HttpServerOptions {
  host: string
  /** 0: any free port. */
  port: number
  /** Longest time for a client to send its whole request. */
  requestTimeoutMs?: number
  /** Answers requests on connections that are still open while the server does not `accept`. Default: 503 without a body. */
  refused?: RequestListener
  /** Answers, in raw text, what is not HTTP or came too late, and closes; Node's own answer has no body. */
  onClientError?(error: Error, socket: Socket): void
  /** Default: `boundedResponse`, which answers a head that is too large with a 500 without a body. */
  classes?: ServerClasses
  /** Is called when the server cannot listen again after `refuse`, once until it can; it is tried until it works. */
  onListenError?(error: Error): void
}

/** What requests and responses are made of. */
export type ServerClasses = Pick<ServerOptions, 'IncomingMessage' | 'ServerResponse'>

export interface HttpServer {
  /** Rejects when the port cannot be had. */
  start(): Promise<void>
  /** The port that it listens on, once started. */
  port(): number
  inFlight(): number
  /** Stops listening; requests on open connections get `refused` and `Connection: close`. Before `start`, it keeps that from listening. */
  refuse(): void
  /** Listens again after `refuse`, on the same port. Resolves when it does, or when it shall not any more. */
  accept(): Promise<void>
  /** Answers carry `Connection: close` from here on, so that pooled connections end between two requests. */
  beginDrain(): void
  /**
   * Stops listening as soon as what was connecting is accepted, and goes on serving open connections for `refuseMs`: a proxy that
   * tries a new one is refused, which it may repeat elsewhere whatever the method. Then waits for the requests in flight,
   * `deadlineMs` in all.
   */
  stop(options: { refuseMs: number; deadlineMs: number }): Promise<void>
}

/** In each the replica is the more patient one, so that it is NGINX that closes or refuses; a test compares them. */
export const httpLimits = {
  keepAliveMs: 75_000,
  requestMs: 30_000,
  headBytes: 48 * 1024,
  /** How often Node looks for connections that are over their time. */
  checkMs: 5000,
}

export function createHttpServer(listener: RequestListener, options: HttpServerOptions): HttpServer {
  const { requestTimeoutMs = httpLimits.requestMs, refused = (_, res) => void res.writeHead(503).end() } = options
  const { classes = { ServerResponse: boundedResponse(() => '') } } = options
  let draining = false
  let inFlight = 0
  const answering = new WeakMap<Socket, { req: IncomingMessage; res: ServerResponse }>()
  const server = createServer(
    {
      keepAliveTimeout: httpLimits.keepAliveMs,
      requestTimeout: requestTimeoutMs,
      headersTimeout: requestTimeoutMs,
      connectionsCheckingInterval: Math.min(httpLimits.checkMs, requestTimeoutMs),
      maxHeaderSize: httpLimits.headBytes,
      ...classes,
    },
    (req, res) => {
      inFlight++
      answering.set(req.socket, { req, res })
      res.on('finish', () => discardRest(req))
      res.on('close', () => {
        inFlight--
      })
      if (draining || port.isClosed()) closeAfter(res)
      if (port.isClosed()) refused(req, res)
      else listener(req, res)
    },
  )
  const port = createListener(server, options)
  server.maxHeadersCount = 100
  server.on('clientError', (error, socket: Socket) => {
    const begun = answering.get(socket)
    // A second response within the first would be taken for its end, and one after it for the response to the next request.
    const isAnswered = begun?.res.headersSent && (!begun.res.writableFinished || !begun.req.complete)
    if (!socket.writable || isAnswered) return void socket.destroy()
    if (options.onClientError) options.onClientError(error, socket)
    else socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n')
    socket.setTimeout(1000, () => socket.destroy()) // for a client that does not close
  })
  return {
    start: port.start,
    port: port.port,
    inFlight: () => inFlight,
    refuse: port.close,
    accept: port.open,
    beginDrain() {
      draining = true
    },
    async stop({ refuseMs, deadlineMs }) {
      if (!port.isStarted()) return
      draining = true
      const deadline = Date.now() + deadlineMs
      await port.stop()
      const closed = new Promise<void>((resolve) => {
        server.once('close', resolve)
        server.getConnections((_, count) => count === 0 && resolve())
      })
      await wait(refuseMs)
      do {
        while (inFlight > 0 && Date.now() < deadline) await wait(20)
        await turn() // a request that has arrived by now is in flight
      } while (inFlight > 0 && Date.now() < deadline)
      server.closeIdleConnections()
      server.closeAllConnections()
      await closed
    },
  }
}

function closeAfter(res: ServerResponse) {
  if (!res.headersSent) res.setHeader('Connection', 'close')
}

/**
 * Reads what is left of a body whose request has been answered. Unread, it would stay on the connection, and the next
 * request on it would wait behind it: through a proxy, that is another client's. `requestTimeoutMs` bounds this, too.
 */
function discardRest(req: IncomingMessage): void {
  if (req.complete || req.destroyed) return
  req.unpipe()
  for (const event of ['readable', 'data']) req.removeAllListeners(event) // a `readable` listener would stop the flow
  req.on('error', () => undefined) // the client may leave now
  setImmediate(() => req.resume()) // only later does the stream notice that its listeners are gone
}
