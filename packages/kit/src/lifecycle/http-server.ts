import { once } from 'node:events'
import { createServer, type RequestListener, type ServerResponse } from 'node:http'
import { type AddressInfo, Server as NetServer } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

export interface HttpServerOptions {
  host: string
  /** 0: any free port. */
  port: number
  /** Longer than the proxy keeps its side open (60 s), so that it is never this side that closes under a request. */
  keepAliveTimeoutMs?: number
  /** Longest time for a client to send its whole request. */
  requestTimeoutMs?: number
}

export interface HttpServer {
  start(): Promise<void>
  /** The port that it listens on, once started. */
  port(): number
  inFlight(): number
  /** Answers carry `Connection: close` from here on, so that pooled connections end between two requests. */
  beginDrain(): void
  /**
   * Stops listening at once, and goes on serving the connections that are open for `refuseMs`: a proxy that tries a new one
   * is refused, which it may repeat elsewhere whatever the method. Then waits for the requests in flight, `deadlineMs` in all.
   */
  stop(options: { refuseMs: number; deadlineMs: number }): Promise<void>
}

export function createHttpServer(listener: RequestListener, options: HttpServerOptions): HttpServer {
  const { host, keepAliveTimeoutMs = 75_000, requestTimeoutMs = 30_000 } = options
  let draining = false
  let inFlight = 0
  const server = createServer(
    { keepAliveTimeout: keepAliveTimeoutMs, requestTimeout: requestTimeoutMs },
    (req, res) => {
      inFlight++
      res.once('close', () => {
        inFlight--
      })
      if (draining) closeAfter(res)
      listener(req, res)
    },
  )
  server.headersTimeout = Math.min(keepAliveTimeoutMs + 5000, requestTimeoutMs)
  server.maxHeadersCount = 100
  return {
    async start() {
      server.listen(options.port, host)
      await once(server, 'listening')
    },
    port: () => (server.address() as AddressInfo).port,
    inFlight: () => inFlight,
    beginDrain() {
      draining = true
    },
    async stop({ refuseMs, deadlineMs }) {
      if (!server.listening) return
      draining = true
      const deadline = Date.now() + deadlineMs
      // http.Server's own close() would end idle connections now, under a request that the proxy may just be sending.
      const closed = new Promise<void>((resolve) => NetServer.prototype.close.call(server, () => resolve()))
      await wait(refuseMs)
      while (inFlight > 0 && Date.now() < deadline) await wait(20)
      server.closeIdleConnections()
      server.closeAllConnections()
      await closed
    },
  }
}

function closeAfter(res: ServerResponse) {
  if (!res.headersSent) res.setHeader('Connection', 'close')
}
