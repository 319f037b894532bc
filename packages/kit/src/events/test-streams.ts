import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { PassThrough } from 'node:stream'
import express, { type ErrorRequestHandler } from 'express'
import { createLog } from '../log/log.ts'
import type { Events } from './events.ts'
import { createStreams, type StreamContext, type Streams } from './follow.ts'
import { createEventStreams, type EventStreamsOptions } from './sse.ts'

export interface Received {
  id?: string
  event?: string
  data?: unknown
}

const silent = createLog({ service: 'test', replicaId: 'test', version: '', destination: new PassThrough() })

/** A server with one route, which `handle` writes: its streams are the kit's. */
export async function startStreams(
  events: Pick<Events, 'subscribe'>,
  handle: (streams: Streams, context: StreamContext) => Promise<unknown>,
  options: Partial<EventStreamsOptions> & { maxHeldBytes?: number } = {},
) {
  const drain = new AbortController()
  const places = createEventStreams({ draining: drain.signal, share: () => 1, spreadMs: 20, ...options })
  const streams = createStreams(places, events, { maxHeldBytes: options.maxHeldBytes })
  const app = express()
  app.get('/', (req, res) => {
    req.log = silent
    return handle(streams, { req, res })
  })
  const fail: ErrorRequestHandler = (error, _req, res, _next) => {
    if (res.headersSent) res.destroy()
    else res.status(error.kind?.status ?? 500).end(error.code ?? error.message)
  }
  app.use(fail)
  const server = app.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    port,
    streams,
    drain,
    get: (lastId?: string) => read(`http://127.0.0.1:${port}/`, lastId),
    stop() {
      server.closeAllConnections()
      server.close()
    },
  }
}

/** Reads a stream as a browser does, into a list. */
async function read(url: string, lastId?: string) {
  const abort = new AbortController()
  const headers: Record<string, string> = lastId === undefined ? {} : { 'last-event-id': lastId }
  const response = await fetch(url, { headers, signal: abort.signal })
  const received: Received[] = []
  let ended = false
  let text = ''
  const reading = (async () => {
    if (response.status !== 200) text = await response.text()
    else
      for await (const chunk of response.body ?? []) {
        text += Buffer.from(chunk).toString()
        const blocks = text.split('\n\n')
        text = blocks.pop() ?? ''
        received.push(...blocks.map(parse).filter((one) => Object.keys(one).length > 0))
      }
  })()
    .catch(() => undefined)
    .finally(() => {
      ended = true
    })
  return {
    status: response.status,
    received,
    /** What `Last-Event-ID` would be now. */
    lastId: () => received.filter(({ id }) => id !== undefined).at(-1)?.id,
    shown: () => received.filter(({ event }) => event !== undefined).map(({ event, data }) => [event, data]),
    ended: () => ended,
    text: () => reading.then(() => text),
    stop: () => abort.abort(),
  }
}

function parse(block: string): Received {
  const received: Received = {}
  for (const line of block.split('\n')) {
    const [name, value = ''] = [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]
    if (name === 'id') received.id = value
    if (name === 'event') received.event = value
    if (name === 'data') received.data = JSON.parse(value)
  }
  return received
}
