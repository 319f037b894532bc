import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** What is asked for, and by whom. */
export interface Target {
  url: string
  /** Connection N asks for the N-th path and sends the N-th cookie; both begin again where they end. */
  paths: string[]
  cookies?: string[]
  /** JSON: then each request is a POST with an `Idempotency-Key` of its own, and 201 is expected. */
  body?: string
}

export interface LoadOptions extends Target {
  connections: number
  /** Ends after so many responses, or after so much time. */
  until: { responses: number } | { ms: number }
}

export interface Load {
  responses: number
  seconds: number
}

/** Each connection has one request under way. Costs a few microseconds for each: it shares the cores with what it measures. Throws unless all succeed. */
export async function load(options: LoadOptions): Promise<Load> {
  const { url, connections, until, body } = options
  const { hostname, port } = new URL(url)
  const expected = body === undefined ? 'HTTP/1.1 200' : 'HTTP/1.1 201'
  const most = 'responses' in until ? until.responses : Number.POSITIVE_INFINITY
  const open = async () => {
    const socket = connect(Number(port), hostname)
    await once(socket, 'connect')
    return socket.setNoDelay().setEncoding('latin1')
  }
  const sockets = await Promise.all(Array.from({ length: connections }, open))
  const startedAt = performance.now()
  let responses = 0
  let stopped = false

  const ask = async (first: Socket, request: () => string): Promise<void> => {
    let socket = first
    while (!stopped) {
      socket.write(request(), 'latin1')
      // What is under way when the time is up is answered too, so that no window pays for another's requests.
      const head = await response(socket)
      if (!head.startsWith(expected)) throw new Error(`a response was not a success: ${head}`)
      responses++
      stopped ||= responses >= most
      // NGINX ends a connection after a thousand requests.
      if (!stopped && /^connection: close/im.test(head)) socket = await open()
    }
    socket.destroy()
  }
  const timer = 'ms' in until ? setTimeout(() => (stopped = true), until.ms) : undefined
  try {
    await Promise.all(sockets.map((socket, at) => ask(socket, requestsOf(options, at))))
  } finally {
    clearTimeout(timer)
    stopped = true
    for (const socket of sockets) socket.destroy()
  }
  return { responses, seconds: (performance.now() - startedAt) / 1000 }
}

/** Makes the requests of one connection. */
function requestsOf({ url, paths, cookies = [], body }: Target, connection: number): () => string {
  const path = paths[connection % paths.length]
  const cookie = cookies.length > 0 ? `Cookie: ${cookies[connection % cookies.length]}\r\n` : ''
  const head = `${path} HTTP/1.1\r\nHost: ${new URL(url).host}\r\n${cookie}`
  if (body === undefined) {
    const request = `GET ${head}\r\n`
    return () => request
  }
  const start = `POST ${head}Content-Type: application/json\r\nContent-Length: ${body.length}\r\nIdempotency-Key: `
  return () => `${start}${randomUUID()}\r\n\r\n${body}`
}

/** The head of one response, once its body is there too. */
function response(socket: Socket): Promise<string> {
  let text = ''
  return new Promise((resolve, reject) => {
    const end = (error?: Error) => {
      socket.off('data', take).off('error', end).off('close', closed)
      if (error) reject(error)
    }
    const closed = () => end(new Error('the connection was closed'))
    const take = (chunk: string) => {
      text += chunk
      const headEnd = text.indexOf('\r\n\r\n')
      if (headEnd < 0) return
      const [, length] = /\r\ncontent-length: (\d+)/i.exec(text) ?? []
      if (length === undefined) return end(new Error(`a response does not say how long it is: ${text}`))
      if (text.length < headEnd + 4 + Number(length)) return
      end()
      resolve(text.slice(0, headEnd))
    }
    socket.on('data', take).on('error', end).on('close', closed)
  })
}
