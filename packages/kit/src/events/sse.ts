import type { Request, Response } from 'express'
import { createPlaces } from './places.ts'

export interface EventStreamsOptions {
  /** Fires when this replica drains: its streams end, and their clients go to another one. */
  draining: AbortSignal
  /** Streams of this process at once; one more is 503 `E_OVERLOADED`. */
  maxStreams?: number
  /** Streams of one client at once, in all replicas together; this one allows its share, and one more is 429 `E_TOO_MANY_CONNECTIONS`. */
  maxStreamsPerClient?: number
  /** Live replicas, as last known. */
  share: () => number
  /** Identifies the client that `maxStreamsPerClient` applies to. Default: its address. */
  clientOf?(req: Request): string
  /** Is called with each request that has become a stream, which is no longer a request in flight. */
  onOpen?(req: Request): void
  /** Below the read timeouts of all proxies in between: they cut connections that are silent. */
  heartbeatMs?: number
  /** Longest life of a stream, shortened by up to half at random; then its client reconnects, perhaps to another replica. */
  maxAgeMs?: number
  /** Whether a stream is for those who may see it: it ends after `privateAgeMs`, since it would outlive a log-out. Default: never. */
  isPrivate?(req: Request): boolean
  privateAgeMs?: number
  /** How long clients should wait before they reconnect; drawn for each, so that they do not all come at once. */
  retryMs?: { min: number; max: number }
  /** At a drain, streams end within this time, not all in one moment. */
  spreadMs?: number
  /** A client that leaves more than this unread is cut off: it can come back, with its last id. */
  maxBufferedBytes?: number
}

/** Without `type` and `data`, it only sets what the client sends as `Last-Event-ID`. */
export interface StreamMessage {
  id?: string
  type?: string
  data?: unknown
}

export interface EventStream {
  send(message: StreamMessage): void
  /** Fires when it ends, for whatever reason. */
  closed: AbortSignal
  end(): void
}

export interface StreamPlace {
  /** Responds with `text/event-stream` (HTML, 9.2). A HEAD request gets the head alone, and a stream that is closed already. */
  open(): EventStream
}

export interface EventStreams {
  /**
   * Takes a place for a stream until the response is closed, with whatever. Comes before all work for the stream, so that a refused
   * one is cheap: throws `E_OVERLOADED` or `E_TOO_MANY_CONNECTIONS`.
   */
  reserve(req: Request, res: Response): StreamPlace
  /** Streams that are open. */
  count(): number
}

/** A test compares the heartbeat with NGINX's read timeout. */
export const streamLimits = {
  maxStreams: 5000,
  maxStreamsPerClient: 256,
  heartbeatMs: 8000,
  maxAgeMs: 30 * 60_000,
  privateAgeMs: 5 * 60_000,
  maxBufferedBytes: 256 * 1024,
}

/** How long a client may take to read the end of a stream before its connection is destroyed. */
const endMs = 5000

export function createEventStreams(options: EventStreamsOptions): EventStreams {
  const { draining, clientOf = (req) => req.ip ?? '', onOpen, spreadMs = 1000, share } = options
  const { maxStreams, maxStreamsPerClient, heartbeatMs, maxBufferedBytes, ...ages } = { ...streamLimits, ...options }
  const { isPrivate = () => false } = options
  const { min, max } = options.retryMs ?? { min: 500, max: 3000 }
  const opened = new Set<EventStream>()
  const places = createPlaces({ most: maxStreams, mostPerClient: maxStreamsPerClient, share, what: 'streams' })

  draining.addEventListener('abort', () => {
    for (const stream of opened) setTimeout(stream.end, between(0, spreadMs))
  })

  const open = (client: string, req: Request, res: Response): EventStream => {
    if (res.closed || res.headersSent) return closedStream() // the client left, or time was up, while the caller was preparing
    res.writeHead(200, {
      'Content-Type': 'text/event-stream; charset=utf-8',
      'Cache-Control': 'no-store, no-transform',
      'X-Accel-Buffering': 'no', // NGINX would keep events back until it has a buffer full of them
    })
    if (req.method === 'HEAD') {
      res.end()
      return closedStream()
    }
    onOpen?.(req)
    const abort = new AbortController()
    const write = (text: string) => {
      if (abort.signal.aborted || res.writableEnded) return
      res.write(text)
      if (res.writableLength <= maxBufferedBytes) return
      req.log.warn({ bufferedBytes: res.writableLength }, 'slow event stream cut off')
      res.destroy()
    }
    let ending: NodeJS.Timeout | undefined
    const stream: EventStream = {
      closed: abort.signal,
      send(message) {
        write(formatMessage(message))
      },
      end() {
        if (res.writableEnded) return
        res.end()
        ending = setTimeout(() => res.destroy(), endMs)
      },
    }
    // Replicas were added: those beyond this one's share connect again, to another one.
    const beat = () => (places.isOver(client) ? stream.end() : write(':\n\n'))
    const heartbeat = setInterval(beat, between(heartbeatMs * 0.8, heartbeatMs))
    const maxAgeMs = isPrivate(req) ? Math.min(ages.maxAgeMs, ages.privateAgeMs) : ages.maxAgeMs
    const age = setTimeout(stream.end, between(maxAgeMs / 2, maxAgeMs))
    opened.add(stream)
    res.once('close', () => {
      clearInterval(heartbeat)
      clearTimeout(age)
      clearTimeout(ending)
      opened.delete(stream)
      abort.abort()
    })
    write(`retry: ${between(min, max)}\n\n`)
    if (draining.aborted) stream.end()
    return stream
  }

  return {
    count: () => opened.size,
    reserve(req, res) {
      const client = clientOf(req)
      places.take(client, res)
      return { open: () => open(client, req, res) }
    },
  }
}

/** The form of the standard. A line break in a type would begin another field; JSON has none. */
export function formatMessage({ id, type, data }: StreamMessage): string {
  const lines: string[] = []
  if (id !== undefined) lines.push(`id: ${id}\n`)
  if (type !== undefined) lines.push(`event: ${type.replace(/[\r\n]/g, ' ')}\n`)
  if (type !== undefined || data !== undefined) lines.push(`data: ${JSON.stringify(data ?? null)}\n`)
  return `${lines.join('')}\n`
}

const between = (from: number, to: number) => Math.round(from + Math.random() * (to - from))

const closedStream = (): EventStream => ({ send() {}, end() {}, closed: AbortSignal.abort() })
