import { once } from 'node:events'
import { type AddressInfo, Server } from 'node:net'
import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises'

export interface ListenerOptions {
  host: string
  /** 0: any free port, and the same one from then on. */
  port: number
  /** Is called when the server cannot listen again, once until it can; it is tried until it works. */
  onListenError?(error: Error): void
}

export interface Listener {
  /** Listens, unless the listener is closed. Rejects when the port cannot be had. */
  start(): Promise<void>
  /** Listens no more, once what was connecting is accepted; open connections stay. Before `start` it keeps that from listening. */
  close(): void
  /** Undoes `close`. Resolves when the server listens, or shall not listen any more. */
  open(): Promise<void>
  isClosed(): boolean
  /** Ends listening for good. Resolves when nothing can begin to listen any more. */
  stop(): Promise<void>
  isStarted(): boolean
  port(): number
}

const retryMs = 250
/** Connections that wait to be accepted. With Node's 511, a proxy's in a burst time out, and the proxy takes the replica for dead. */
const backlog = 4096

/** Under so many new connections that they never pause, the last ones are cut after all. */
const longestClosingMs = 1000
/** The same while the listener may open again: what it accepts meanwhile is refused, and another replica would serve it. */
const longestRefusingMs = 20
/** Longer than the primary of a Node cluster, which by default accepts for its workers, takes to hand over a connection. */
const quietMs = 2

/** Keeps a server listening for as long as it is started, not closed and not stopped, whatever was under way when that changed. */
export function createListener(server: Server, { host, port, onListenError }: ListenerOptions): Listener {
  let started = false
  let closed = false
  let stopped = false
  let knownPort = port
  let opening: Promise<void> | undefined
  let closing: Promise<void> | undefined
  const isWanted = () => started && !closed && !stopped

  const listen = async () => {
    server.listen({ port: knownPort, host, backlog })
    await once(server, 'listening')
    knownPort = (server.address() as AddressInfo).port
    void settle() // the answer to what was asked for meanwhile
  }
  const listenAtLast = async () => {
    let failed = false
    while (isWanted() && !server.listening) {
      try {
        await listen()
      } catch (error) {
        if (!failed) onListenError?.(error as Error)
        failed = true
        await wait(retryMs)
      }
    }
  }
  const keep = (work: Promise<void>) => {
    opening = work.finally(() => {
      opening = undefined
      void settle()
    })
    opening.catch(() => undefined) // its awaiter sees the failure
    return opening
  }
  /** Does what is wanted now; while the server is about to listen, that is decided again once it does. */
  const settle = (): Promise<void> => {
    if (opening) return opening
    if (isWanted()) return server.listening ? Promise.resolve() : keep(listenAtLast())
    if (server.listening) closing ??= closeOnceQuiet()
    return closing ?? Promise.resolve()
  }
  const closeOnceQuiet = async () => {
    await allAccepted(server, isWanted, stopped ? longestClosingMs : longestRefusingMs)
    closing = undefined
    // http.Server's own close() would end idle connections, too.
    if (!isWanted() && server.listening) Server.prototype.close.call(server)
  }

  return {
    async start() {
      started = true
      if (!isWanted()) return
      const attempt = listen().catch((error) => {
        started = false
        throw error
      })
      await keep(attempt)
    },
    close() {
      closed = true
      void settle()
    },
    open() {
      closed = false
      return settle()
    },
    isClosed: () => closed,
    async stop() {
      stopped = true
      await opening?.catch(() => undefined)
      await settle()
    },
    isStarted: () => started,
    port: () => knownPort,
  }
}

/**
 * Resolves when no connection waits to be accepted, right after Node has looked. The kernel would cut those that wait, and with
 * them requests that have already been sent; Node accepts one in each turn of the event loop.
 */
async function allAccepted(server: Server, isGivenUp: () => boolean, longestMs: number): Promise<void> {
  let quietSince = performance.now()
  const accepted = () => {
    quietSince = Number.POSITIVE_INFINITY
  }
  server.on('connection', accepted)
  const startedAt = performance.now()
  for (let turnAt = startedAt; !isGivenUp() && turnAt - startedAt < longestMs; ) {
    await turn()
    const now = performance.now()
    // What came during a long turn is seen in the next one.
    if (quietSince > now || now - turnAt > quietMs / 2) quietSince = now
    turnAt = now
    if (now - quietSince >= quietMs) break
  }
  server.off('connection', accepted)
}
