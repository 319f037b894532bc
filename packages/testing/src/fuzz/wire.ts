import { connect } from 'node:net'

/** A request as it goes over the wire: nothing in it has to be valid HTTP. Text is Latin-1, one character for each byte. */
export interface RawRequest {
  method: string
  target: string
  headers: [name: string, value: string][]
  body?: Buffer | undefined
}

export interface RawAnswer {
  /** 0: there was no complete answer; `failure` says why. */
  status: number
  /** Names in lower case; what stands more than once is joined with a comma. */
  headers: Record<string, string>
  headBytes: number
  body: Buffer
  ms: number
  failure?: string
}

export interface SendOptions {
  /** `http://127.0.0.1:8080`: only its host and port count. */
  url: string
  /** Longest time until the answer is complete. */
  timeoutMs: number
  /** Longest answer that is read. */
  maxBytes: number
  localAddress?: string | undefined
}

/** Returns the bytes of a request. `Host`, `Content-Length` and `Connection: close` are added where they are missing. */
export function bytesOf({ method, target, headers, body }: RawRequest, host: string): Buffer {
  const given = new Set(headers.map(([name]) => name.toLowerCase()))
  const lines = [
    ...(given.has('host') ? [] : [['Host', host] as const]),
    ...(given.has('connection') ? [] : [['Connection', 'close'] as const]),
    ...headers,
    ...(body === undefined || given.has('content-length') || given.has('transfer-encoding')
      ? []
      : [['Content-Length', String(body.length)] as const]),
  ]
  const head = [`${method} ${target} HTTP/1.1`, ...lines.map(([name, value]) => `${name}: ${value}`)].join('\r\n')
  return Buffer.concat([Buffer.from(`${head}\r\n\r\n`, 'latin1'), body ?? Buffer.alloc(0)])
}

/** Sends one request on a connection of its own and returns the first answer. A stream of events is read up to its first bytes. */
export function sendRaw(
  request: RawRequest,
  { url, timeoutMs, maxBytes, localAddress }: SendOptions,
): Promise<RawAnswer> {
  const { hostname, port, host } = new URL(url)
  const startedAt = performance.now()
  return new Promise((resolve) => {
    const chunks: Buffer[] = []
    let received = 0
    const socket = connect({ host: hostname, port: Number(port), localAddress })
    const finish = (failure?: string) => {
      clearTimeout(timer)
      socket.destroy()
      const ms = Math.round(performance.now() - startedAt)
      const parsed = parseAnswer(Buffer.concat(chunks), request.method)
      if (parsed?.isComplete || (parsed?.endsWithConnection && failure === undefined)) return resolve({ ...parsed, ms })
      const nothing = { status: 0, headers: {}, headBytes: 0, body: Buffer.alloc(0) }
      resolve({
        ...(parsed ?? nothing),
        status: 0,
        ms,
        failure: failure ?? (parsed ? 'broken off' : 'closed unanswered'),
      })
    }
    const timer = setTimeout(() => finish('no complete answer in time'), timeoutMs)
    socket.on('connect', () => socket.write(bytesOf(request, host)))
    socket.on('data', (chunk) => {
      chunks.push(chunk)
      received += chunk.length
      if (received > maxBytes) return finish('too large')
      // Parsing a large answer again for each of its pieces would be quadratic.
      if (received < 65_536 || chunk.length < 16_384) {
        if (parseAnswer(Buffer.concat(chunks), request.method)?.isComplete) finish()
      }
    })
    socket.on('error', (error: NodeJS.ErrnoException) => finish(error.code ?? error.message))
    socket.on('close', () => finish())
  })
}

interface ParsedAnswer extends Omit<RawAnswer, 'ms'> {
  isComplete: boolean
  /** Its length is not stated: it is complete when the connection ends. */
  endsWithConnection: boolean
}

function parseAnswer(bytes: Buffer, method: string): ParsedAnswer | undefined {
  const end = bytes.indexOf('\r\n\r\n')
  if (end < 0) return undefined
  const [statusLine = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n')
  const status = Number(/^HTTP\/1\.[01] (\d{3})( |$)/.exec(statusLine)?.[1] ?? 0)
  const rest = bytes.subarray(end + 4)
  if (status >= 100 && status < 200 && status !== 101) return parseAnswer(rest, method)
  const headers: Record<string, string> = {}
  for (const line of lines) {
    const [name = '', value = ''] = line.split(/:\s*(.*)/s)
    const key = name.toLowerCase()
    headers[key] = key in headers ? `${headers[key]}, ${value}` : value
  }
  const head = { status, headers, headBytes: end + 4 }
  if (method === 'HEAD' || status === 204 || status === 304) {
    return { ...head, body: rest, isComplete: true, endsWithConnection: false }
  }
  if (/^text\/event-stream/.test(headers['content-type'] ?? '')) {
    return { ...head, body: rest, isComplete: rest.length > 0, endsWithConnection: true }
  }
  if (/chunked/i.test(headers['transfer-encoding'] ?? '')) {
    const body = decodeChunks(rest)
    return { ...head, body: body ?? rest, isComplete: body !== undefined, endsWithConnection: false }
  }
  const length = headers['content-length']
  if (length === undefined) return { ...head, body: rest, isComplete: false, endsWithConnection: true }
  return {
    ...head,
    body: rest.subarray(0, Number(length)),
    isComplete: rest.length >= Number(length),
    endsWithConnection: false,
  }
}

function decodeChunks(bytes: Buffer): Buffer | undefined {
  const chunks: Buffer[] = []
  let at = 0
  while (true) {
    const lineEnd = bytes.indexOf('\r\n', at)
    if (lineEnd < 0) return undefined
    const size = Number.parseInt(bytes.toString('latin1', at, lineEnd), 16)
    const begin = lineEnd + 2
    if (Number.isNaN(size) || bytes.length < begin + size + 2) return undefined
    if (size === 0) return Buffer.concat(chunks)
    chunks.push(bytes.subarray(begin, begin + size))
    at = begin + size + 2
  }
}
