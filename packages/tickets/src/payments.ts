import { randomUUID } from 'node:crypto'
import type { Breaker } from '@escala/kit/breaker/breaker'
import { AppError } from '@escala/kit/errors/app-error'
import { PermanentFailure } from '@escala/kit/jobs/jobs'
import { carriedTracing, type Tracing } from '@escala/kit/tracing/tracing'
import { z } from 'zod'

const id = z.string().min(1).max(200)
const succeeded = z.object({ id, status: z.literal('succeeded') })
const declined = z.object({ status: z.literal('declined') })
const known = z.object({
  id,
  status: z.enum(['succeeded', 'declined']),
  reference: z.string().max(200),
  amountCents: z.int(),
  currency: z.string().max(3),
})

/** What every request to the provider carries for those who read its logs, and what ends it. */
export interface PaymentContext {
  requestId: string
  traceparent: string | undefined
  signal: AbortSignal
  /** Whether no earlier request can have been about the same charge. */
  isFirst: boolean
}

export interface PaymentRequest extends PaymentContext {
  /** One key, one charge: the order's id, for every attempt by any worker. */
  key: string
  /** Shown to the buyer: the order's number. */
  reference: string
  amountCents: number
  currency: string
}

export interface RefundRequest extends Omit<PaymentRequest, 'key'> {
  /** The charge that is given back, by the provider's id. The refund's own key is made of it: one charge, one refund. */
  charge: string
}

export type PaymentOutcome = { status: 'succeeded'; id: string } | { status: 'declined' }

/** A charge as the provider knows it. */
export type KnownCharge = z.infer<typeof known>

/** Anything but a clear answer throws: the money may have moved, so the same key must be asked again. */
export interface Payments {
  /**
   * `begin` comes last before the request: once it was called, the money may move. While calls are held back it is not called, and
   * when it answers `false` nothing is sent and there is no outcome. Throws `PaymentRefused` when the provider refuses this request.
   */
  charge(request: PaymentRequest, begin: () => Promise<boolean>): Promise<PaymentOutcome | undefined>
  /** Returns what the provider did under that key; `undefined`: it never saw the key. */
  find(key: string, context: PaymentContext): Promise<KnownCharge | undefined>
  refund(request: RefundRequest): Promise<PaymentOutcome>
}

/** The provider refused the request for good: it has done nothing for it, and will not at another try. */
export class PaymentRefused extends PermanentFailure {
  override readonly name = 'PaymentRefused'
  readonly status: number
  /** It refused us (401, 403) rather than this request: every order meets the same. */
  readonly isOurs: boolean

  constructor(status: number) {
    super(`the payment provider refused with ${status}`)
    this.status = status
    this.isOurs = status === 401 || status === 403
  }
}

// The only 4xx that may be different at the next attempt.
const worthAnotherTry = new Set([408, 409, 425, 429])

export interface PaymentsOptions {
  url: string
  timeoutMs?: number
  tracing?: Tracing
  /** More than this of an answer is not read. */
  maxBodyBytes?: number
}

export interface GuardedPaymentsOptions extends PaymentsOptions {
  /** Every call goes through it. */
  breaker: Breaker
}

type Sent = Omit<PaymentContext, 'isFirst'>

/** The provider's HTTP: `POST /charges` and `POST /refunds` with an `Idempotency-Key`, `GET /charges/:key`; 201 is done, 402 is declined. */
function createRequests({ url, timeoutMs = 5000, maxBodyBytes = 65_536 }: PaymentsOptions) {
  const request = async (path: string, init: RequestInit, { requestId, traceparent, signal }: Sent) => {
    const response = await fetch(new URL(path, url.endsWith('/') ? url : `${url}/`), {
      ...init,
      headers: { ...init.headers, 'X-Request-Id': requestId, ...(traceparent && { traceparent }) },
      redirect: 'error', // a redirected POST would be another request, with the same key, to somebody else
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
    })
    return { status: response.status, body: await readJson(response, maxBodyBytes) }
  }
  return {
    async post(path: string, key: string, content: unknown, sent: Sent): Promise<PaymentOutcome> {
      const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': key }
      const { status, body } = await request(path, { method: 'POST', headers, body: JSON.stringify(content) }, sent)
      if (status === 201) return { ...succeeded.parse(body) }
      if (status === 402) return { ...declined.parse(body) }
      throw refusal(status)
    },
    async get(key: string, sent: Sent): Promise<KnownCharge | undefined> {
      const { status, body } = await request(`charges/${encodeURIComponent(key)}`, {}, sent)
      if (status === 200) return known.parse(body)
      if (status === 404) return undefined
      throw refusal(status)
    },
  }
}

function refusal(status: number): Error {
  if (status >= 400 && status < 500 && !worthAnotherTry.has(status)) return new PaymentRefused(status)
  return new Error(`the payment provider answered ${status}`)
}

export function createPayments(options: GuardedPaymentsOptions): Payments {
  const { breaker, tracing = carriedTracing } = options
  const requests = createRequests(options)
  const traced = <T>(name: string, { traceparent, ...context }: PaymentContext, send: (sent: Sent) => Promise<T>) =>
    tracing.span({ name, kind: 'client', traceparent }, (span) => send({ ...context, traceparent: span.traceparent }))
  return {
    charge(request, begin) {
      const { key, reference, amountCents, currency, isFirst } = request
      const content = { reference, amountCents, currency }
      const send = () => traced('POST /charges', request, (sent) => requests.post('charges', key, content, sent))
      return breaker.run(send, { isFirst, begin })
    },
    find: (key, context) =>
      breaker.run(() => traced('GET /charges', context, (sent) => requests.get(key, sent)), { isFirst: false }),
    refund(request) {
      const { charge, reference, amountCents, currency, isFirst } = request
      const content = { charge, reference, amountCents, currency }
      const key = `refund-${charge}`
      const send = () => traced('POST /refunds', request, (sent) => requests.post('refunds', key, content, sent))
      return breaker.run(send, { isFirst })
    },
  }
}

/**
 * For the breaker: asks about a charge that does not exist. A provider that says so is well, and so is one that refuses the question
 * (400, 405): it answers, and a breaker that waited for more would never close.
 */
export function createPaymentsCheck(options: PaymentsOptions): () => Promise<void> {
  const requests = createRequests(options)
  return async () => {
    const signal = new AbortController().signal
    try {
      await requests.get(`check-${randomUUID()}`, { requestId: 'check', traceparent: undefined, signal })
    } catch (error) {
      if (!(error instanceof PaymentRefused) || error.isOurs) throw error
    }
  }
}

/** For the breaker: neither a request that is wrong nor a database that is unreachable says anything about the provider. */
export const isProvidersFailure = (error: Error) =>
  error instanceof PaymentRefused ? error.isOurs : !(error instanceof AppError)

async function readJson(response: Response, maxBytes: number): Promise<unknown> {
  let bytes = 0
  const chunks: Uint8Array[] = []
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength
    if (bytes > maxBytes) throw new Error(`the payment provider answered more than ${maxBytes} bytes`)
    chunks.push(chunk)
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString())
  } catch {
    return undefined
  }
}
