import { randomUUID } from 'node:crypto'
import { Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { seedPassword } from './template.ts'

export interface ClientAnswer {
  /** 0: there was no answer; `error` says why. */
  status: number
  // What a route answers is for the lab to know.
  // biome-ignore lint/suspicious/noExplicitAny: see above
  body: any
  headers: IncomingHttpHeaders
  /** Which replica answered, where `EXPOSE_REPLICA` is set. */
  replicaId?: string
  error?: string
}

type Headers = Record<string, string>
type Call = (path: string, body?: unknown, headers?: Headers) => Promise<ClientAnswer>

export interface Client {
  get: Call
  post: Call
  put: Call
  patch: Call
  delete: Call
  /** Makes an account and stays logged out; without an email, a new one each time. */
  signUp(email?: string): Promise<{ id: string; email: string; password: string }>
  /** Throws unless it works. */
  logIn(email: string, password: string): Promise<ClientAnswer>
  /** `organiser@example.com`, who is in every cluster. */
  logInAsOrganiser(): Promise<ClientAnswer>
  /** By name. */
  cookies: Map<string, string>
  /** Ends its idle connections. */
  close(): void
}

export interface ClientOptions {
  /** The address that it comes from: all of 127.0.0.0/8 is this machine. Linux only. */
  localAddress?: string
  timeoutMs?: number
  headers?: Headers
  /** Default true. */
  keepAlive?: boolean
  /**
   * A kept connection that the server closed at this very moment (as NGINX does at a reload) is no failure for a browser: it
   * sends again. Reads are sent again in any case. Writes are by default not: a lab that counts losses must see this one.
   */
  resendWrites?: boolean
}

/** One HTTP client with cookies of its own, as a browser has. Network errors become a response with status 0. */
export function createClient(baseUrl: string, options: ClientOptions = {}): Client {
  const { localAddress, timeoutMs = 30_000, headers: always, keepAlive = true, resendWrites = false } = options
  const agent = new Agent({ keepAlive, localAddress })
  const cookies = new Map<string, string>()

  const send = (method: string, path: string, body?: unknown, headers?: Headers) =>
    new Promise<ClientAnswer>((resolve) => {
      const failed = (error: NodeJS.ErrnoException) =>
        resolve({ status: 0, body: undefined, headers: {}, error: error.code ?? error.message })
      const text = body === undefined ? undefined : JSON.stringify(body)
      const req = httpRequest(new URL(path, baseUrl), {
        method,
        agent,
        signal: AbortSignal.timeout(timeoutMs),
        headers: {
          ...(cookies.size > 0 ? { cookie: [...cookies].map((pair) => pair.join('=')).join('; ') } : {}),
          ...(text === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
          ...always,
          ...headers,
        },
      })
      req.on('error', (error: NodeJS.ErrnoException) => {
        const mayResend = method === 'GET' || resendWrites
        // It ends, since a new connection is not a reused one.
        if (mayResend && req.reusedSocket && error.code === 'ECONNRESET') resolve(send(method, path, body, headers))
        else failed(error)
      })
      req.on('response', (res) => {
        const chunks: Buffer[] = []
        res.on('error', failed)
        res.on('data', (chunk) => chunks.push(chunk))
        res.on('end', () => {
          for (const line of res.headers['set-cookie'] ?? []) keepCookie(cookies, line)
          const replicaId = res.headers['x-replica-id'] as string | undefined
          const answer = parse(Buffer.concat(chunks).toString(), res.headers['content-type'])
          resolve({ status: res.statusCode ?? 0, body: answer, headers: res.headers, replicaId })
        })
      })
      req.end(text)
    })
  const call =
    (method: string): Call =>
    (path, body, headers) =>
      send(method, path, body, headers)

  const client: Client = {
    get: call('GET'),
    post: call('POST'),
    put: call('PUT'),
    patch: call('PATCH'),
    delete: call('DELETE'),
    async signUp(email = `${randomUUID()}@example.com`) {
      const password = 'a password of a lab'
      const { id } = expectStatus(await client.post('/v1/users', { email, password, name: 'Ann' }), 201).body
      return { id, email, password }
    },
    logIn: async (email, password) => expectStatus(await client.post('/v1/session', { email, password }), 200),
    logInAsOrganiser: () => client.logIn('organiser@example.com', seedPassword),
    cookies,
    close: () => agent.destroy(),
  }
  return client
}

/** What a lab needs in order to go on; what it measures, it counts instead. */
export function expectStatus(answer: ClientAnswer, status: number): ClientAnswer {
  if (answer.status === status) return answer
  throw new Error(`expected ${status}, got ${answer.status}: ${answer.error ?? JSON.stringify(answer.body)}`)
}

function keepCookie(cookies: Map<string, string>, line: string): void {
  const [pair = '', ...attributes] = line.split(';')
  const [name = '', value = ''] = pair.split(/=(.*)/s)
  const gone = attributes.some((attribute) => /^\s*(max-age=0|expires=thu, 01 jan 1970)/i.test(attribute))
  if (gone || value === '') cookies.delete(name)
  else cookies.set(name, value)
}

function parse(text: string, type = ''): unknown {
  if (!/json/.test(type)) return text === '' ? undefined : text
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
