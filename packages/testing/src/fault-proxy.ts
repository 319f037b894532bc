import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** A TCP proxy in front of one server that can misbehave like a network. Every fault holds until `heal`. */
export interface FaultProxy {
  url: string
  port: number
  /** Cuts every connection and refuses new ones. */
  refuse(): Promise<void>
  /** Connections stay open and new ones are taken, and not a byte passes in either direction. */
  hang(): void
  /** Cuts every connection with a reset, and each new one as soon as it is made. */
  reset(): void
  /** Holds what passes for so many milliseconds, in each direction. */
  delay(ms: number): void
  /** The next bytes from the server are thrown away and their connection is cut: the command ran, its answer is lost. */
  dropNextReply(): void
  /** Back to normal. Connections that hung are cut, since bytes of them may be missing. */
  heal(): Promise<void>
  stop(): Promise<void>
}

export interface FaultProxyOptions {
  /** Of the server behind: scheme, credentials and path are kept in the proxy's own `url`. */
  target: string
  /** Where it listens; default 127.0.0.1. */
  host?: string
  /** The name in its `url`; default 127.0.0.1. */
  reachedAs?: string
}

type Mode = 'normal' | 'refuse' | 'hang' | 'reset'

export async function startFaultProxy(options: FaultProxyOptions): Promise<FaultProxy> {
  const { target, host = '127.0.0.1', reachedAs = '127.0.0.1' } = options
  const { hostname, port: targetPort } = new URL(target)
  const pairs = new Set<{ client: Socket; server: Socket; stuck: boolean }>()
  let mode: Mode = 'normal'
  let delayMs = 0
  let dropReply = false

  const proxy: Server = createServer((client) => {
    if (mode === 'reset') return client.resetAndDestroy()
    const server = connect(Number(targetPort), hostname)
    const pair = { client, server, stuck: false }
    pairs.add(pair)
    const forward = (from: Socket, to: Socket, isReply: boolean) => {
      from.setNoDelay(true)
      const held: Buffer[] = []
      const pass = (chunk: Buffer) => {
        if (mode === 'hang') pair.stuck = true
        else if (to.writable && !to.write(chunk)) {
          from.pause()
          to.once('drain', () => from.resume())
        }
      }
      from.on('data', (chunk: Buffer) => {
        if (isReply && dropReply && mode === 'normal') {
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
        if (mode === 'hang') pair.stuck = true
        else if (delayMs > 0) setTimeout(() => to.destroySoon(), delayMs)
        else to.destroySoon()
        if (from.closed && to.closed) pairs.delete(pair)
      })
      from.on('error', () => undefined)
    }
    forward(client, server, false)
    forward(server, client, true)
  })

  const destroy = (pair: { client: Socket; server: Socket }, reset = false) => {
    for (const socket of [pair.client, pair.server]) {
      if (reset) socket.resetAndDestroy()
      else socket.destroy()
    }
  }
  const cut = (which: (pair: { stuck: boolean }) => boolean, reset = false) => {
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
    async heal() {
      mode = 'normal'
      delayMs = 0
      dropReply = false
      cut((pair) => pair.stuck)
      if (!proxy.listening) await listen(port)
    },
    async stop() {
      mode = 'normal'
      await close()
    },
  }
}
