import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** A TCP proxy in front of one server that can misbehave like a network. Every fault except `silence` lasts until `heal`. */
export interface FaultProxy {
  url: string
  port: number
  /** Cuts every connection and refuses new ones. */
  refuse(): Promise<void>
  /** Connections stay open and new ones are taken, and not a byte passes in either direction. Those that lose bytes stay silent. */
  hang(): void
  /**
   * Kills the connections that are open now without notifying either end, like a dead host or a NAT that forgot them: no byte
   * passes on them any more and no end of a connection either, also after `heal`. New connections work.
   */
  silence(): void
  /** Cuts every connection with a reset, and each new one as soon as it is made. */
  reset(): void
  /** Ends silenced connections at the server, as its TCP keepalive does in time: until then they hold places there. */
  bury(): void
  /** Holds what passes for so many milliseconds, in each direction. */
  delay(ms: number): void
  /** The next bytes from the server are thrown away and their connection is cut: the command ran, its answer is lost. */
  dropNextReply(): void
  /** Sends new connections to the server of this address; existing connections stay where they are, also after `heal`. */
  lead(target: string): void
  /** Back to normal for new connections. Those that lost bytes meanwhile stay silent for good, as those that were silenced. */
  heal(): Promise<void>
  stop(): Promise<void>
}

export interface FaultProxyOptions {
  /** Address of the server behind it; the proxy's own `url` keeps its scheme, credentials and path. */
  target: string
  /** Where it listens; default 127.0.0.1. */
  host?: string
  /** The name in its `url`; default 127.0.0.1. */
  reachedAs?: string
}

type Mode = 'normal' | 'refuse' | 'hang' | 'reset'

interface Pair {
  client: Socket
  server: Socket
  /** Bytes or an end got lost while it hung. */
  stuck: boolean
  /** Nothing passes ever again. */
  silent: boolean
}

export async function startFaultProxy(options: FaultProxyOptions): Promise<FaultProxy> {
  const { target, host = '127.0.0.1', reachedAs = '127.0.0.1' } = options
  let { hostname, port: targetPort } = new URL(target)
  const pairs = new Set<Pair>()
  let mode: Mode = 'normal'
  let delayMs = 0
  let dropReply = false

  const proxy: Server = createServer((client) => {
    if (mode === 'reset') return client.resetAndDestroy()
    const server = connect(Number(targetPort), hostname)
    const pair: Pair = { client, server, stuck: false, silent: false }
    pairs.add(pair)
    const forward = (from: Socket, to: Socket, isReply: boolean) => {
      from.setNoDelay(true)
      const held: Buffer[] = []
      const pass = (chunk: Buffer) => {
        if (pair.silent) return
        if (mode === 'hang') pair.stuck = true
        else if (to.writable && !to.write(chunk)) {
          from.pause()
          to.once('drain', () => from.resume())
        }
      }
      from.on('data', (chunk: Buffer) => {
        if (isReply && dropReply && mode === 'normal' && !pair.silent) {
          dropReply = false
          return destroy(pair)
        }
        if (delayMs === 0 && held.length === 0) return pass(chunk)
        held.push(chunk)
        // Whichever timer comes first passes the oldest: bytes stay in order also when the delay changes.
        setTimeout(() => pass(held.shift() as Buffer), delayMs)
      })
      // While it hangs not even the end of a connection gets through.
      from.on('close', () => {
        if (pair.silent) return forget(pair)
        if (mode === 'hang') pair.stuck = true
        else if (delayMs > 0) setTimeout(() => to.destroySoon(), delayMs)
        else to.destroySoon()
        forget(pair)
      })
      from.on('error', () => undefined)
    }
    forward(client, server, false)
    forward(server, client, true)
  })

  const forget = (pair: Pair) => {
    if (pair.client.closed && pair.server.closed) pairs.delete(pair)
  }
  const destroy = (pair: Pair, reset = false) => {
    for (const socket of [pair.client, pair.server]) {
      if (reset) socket.resetAndDestroy()
      else socket.destroy()
    }
  }
  const cut = (which: (pair: Pair) => boolean, reset = false) => {
    for (const pair of [...pairs].filter(which)) {
      pairs.delete(pair)
      destroy(pair, reset)
    }
  }
  const listen = async (port: number) => {
    proxy.listen(port, host)
    await once(proxy, 'listening')
  }
  const close = async () => {
    if (!proxy.listening) return
    const closed = once(proxy, 'close')
    proxy.close()
    cut(() => true)
    await closed
  }

  await listen(0)
  const { port } = proxy.address() as AddressInfo
  const url = new URL(target)
  url.hostname = reachedAs
  url.port = String(port)

  return {
    url: url.href,
    port,
    async refuse() {
      mode = 'refuse'
      await close()
    },
    hang() {
      mode = 'hang'
    },
    silence() {
      for (const pair of pairs) pair.silent = true
    },
    bury() {
      for (const { server, silent } of pairs) if (silent) server.destroy()
    },
    reset() {
      mode = 'reset'
      cut(() => true, true)
    },
    delay(ms) {
      delayMs = ms
    },
    dropNextReply() {
      dropReply = true
    },
    lead(other) {
      ;({ hostname, port: targetPort } = new URL(other))
    },
    async heal() {
      mode = 'normal'
      delayMs = 0
      dropReply = false
      for (const pair of pairs) pair.silent ||= pair.stuck
      if (!proxy.listening) await listen(port)
    },
    async stop() {
      mode = 'normal'
      await close()
    },
  }
}
