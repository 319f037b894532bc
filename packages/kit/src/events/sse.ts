import type { Request, Response } from 'express'
import { kitErrors } from '../errors/errors.ts'

export interface EventStreamsOptions {
  /** Fires when this replica drains: its streams end, and their clients go to another one. */
  draining: AbortSignal
  /** Streams of this process at once; one more is `E_OVERLOADED`. */
  maxStreams?: number
  /** Below the read timeouts of whatever lies between: proxies cut what is silent. */
  heartbeatMs?: number
  /** Clients are told to wait for so long before they come back; drawn for each, so that they do not all come at once. */
  retryMs?: { min: number; max: number }
  /** At a drain, streams end within so long, not all in one moment. */
  spreadMs?: number
  /** A client that leaves more than this unread is cut off: it can come back, with its last id. */
  maxBufferedBytes?: number
}

export interface EventStream {
  send(event: { id?: string; type: string; data: unknown }): void
  /** Fires when it ends, for whatever reason. */
  closed: AbortSignal
  end(): void
}

export interface EventStreams {
  /** Answers with `text/event-stream` (HTML, 9.2). Throws `E_OVERLOADED`. */
  open(req: Request, res: Response): EventStream
  count(): number
}

export function createEventStreams(options: EventStreamsOptions): EventStreams {
  const { draining, maxStreams = 5000, heartbeatMs = 15_000, spreadMs = 1000, maxBufferedBytes = 256 * 1024 } = options
  const { min, max } = options.retryMs ?? { min: 500, max: 3000 }
  const open = new Set<EventStream>()
  const between = (from: number, to: number) => Math.round(from + Math.random() * (to - from))

  draining.addEventListener('abort', () => {
    for (const stream of open) setTimeout(stream.end, between(0, spreadMs))
  })

  return {
    count: () => open.size,
    open(req, res) {
      if (open.size >= maxStreams) throw kitErrors.E_OVERLOADED({ retryAfterMs: 5000 })
      const abort = new AbortController()
      res.writeHead(200, {
        'Content-Type': 'text/event-stream; charset=utf-8',
        'Cache-Control': 'no-store, no-transform',
        'X-Accel-Buffering': 'no', // NGINX would keep events back until it has a buffer full of them
      })
      const write = (text: string) => {
        if (abort.signal.aborted) return
        res.write(text)
        if (res.writableLength <= maxBufferedBytes) return
        req.log.warn({ bufferedBytes: res.writableLength }, 'slow event stream cut off')
        res.destroy()
      }
      const heartbeat = setInterval(() => write(':\n\n'), between(heartbeatMs * 0.8, heartbeatMs))
      const stream: EventStream = {
        closed: abort.signal,
        send({ id, type, data }) {
          write(`${id === undefined ? '' : `id: ${id}\n`}event: ${type}\ndata: ${JSON.stringify(data)}\n\n`)
        },
        end: () => void res.end(),
      }
      open.add(stream)
      res.once('close', () => {
        clearInterval(heartbeat)
        open.delete(stream)
        abort.abort()
      })
      write(`retry: ${between(min, max)}\n\n`)
      if (draining.aborted) stream.end()
      return stream
    },
  }
}
