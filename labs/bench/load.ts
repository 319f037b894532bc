import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

export interface LoadOptions {
  url: string
  path: string
  /** Cookie headers: connection N sends the N-th, and begins again where they end. */
  cookies: string[]
  connections: number
  /** Ends after so many answers, or after so much time. */
  until: { answers: number } | { ms: number }
}

export interface Load {
  answers: number
  seconds: number
}

/** Each connection has one request under way. Costs a few microseconds for each: it shares the cores with what it measures. Throws unless all are 200. */
export async function load({ url, path, cookies, connections, until }: LoadOptions): Promise<Load> {
  const { hostname, port, host } = new URL(url)
  const most = 'answers' in until ? until.answers : Number.POSITIVE_INFINITY
  const open = async () => {
    const socket = connect(Number(port), hostname)
    await once(socket, 'connect')
    return socket.setNoDelay().setEncoding('latin1')
  }
  const sockets = await Promise.all(Array.from({ length: connections }, open))
  const startedAt = performance.now()
  let answers = 0
  let stopped = false

  const ask = async (first: Socket, request: Buffer): Promise<void> => {
    let socket = first
    while (!stopped) {
      socket.write(request)
      // What is under way when the time is up is answered too, so that no window pays for another's requests.
      const head = await answer(socket)
      if (!head.startsWith('HTTP/1.1 200')) throw new Error(`an answer was not 200: ${head}`)
      answers++
      stopped ||= answers >= most
      // NGINX ends a connection after a thousand requests.
      if (!stopped && /^connection: close/im.test(head)) socket = await open()
    }
    socket.destroy()
  }
  const done = sockets.map((socket, at) => {
    const cookie = cookies.length > 0 ? `Cookie: ${cookies[at % cookies.length]}\r\n` : ''
    return ask(socket, Buffer.from(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${cookie}\r\n`))
  })
  const timer = 'ms' in until ? setTimeout(() => (stopped = true), until.ms) : undefined
  await Promise.all(done)
  clearTimeout(timer)
  return { answers, seconds: (performance.now() - startedAt) / 1000 }
}

/** The head of one answer, once its body is there too. */
function answer(socket: Socket): Promise<string> {
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
      const length = Number(/content-length: (\d+)/i.exec(text)?.[1])
      if (text.length < headEnd + 4 + length) return
      end()
      resolve(text.slice(0, headEnd))
    }
    socket.on('data', take).on('error', end).on('close', closed)
  })
}
