import type { Breaker } from '@escala/kit/breaker/breaker.ts'
import { AppError } from '@escala/kit/errors/app-error.ts'
import { PermanentFailure } from '@escala/kit/jobs/jobs.ts'
import { carriedTracing, type Tracing } from '@escala/kit/tracing/tracing.ts'
import { z } from 'zod'

const succeeded = z.object({ id: z.string().min(1).max(200), status: z.literal('succeeded') })
const declined = z.object({ status: z.literal('declined') })

export interface PaymentRequest {
  /** One key, one effect: the order's id, whoever tries and however often. */
  key: string
  /** Shown to the buyer: the order's number. */
  reference: string
  amountCents: number
  currency: string
  requestId: string
  traceparent: string | undefined
  signal: AbortSignal
}

export type PaymentOutcome = { status: 'succeeded'; id: string } | { status: 'declined' }

/** Anything but a clear answer throws: the money may have moved, so the same key must be asked again. */
export interface Payments {
  /**
   * `begin` comes last before the request: once it was called, the money may move. While calls are held back it is not called, and
   * when it answers `false` nothing is sent and there is no outcome.
   */
  charge(request: PaymentRequest, begin: () => Promise<boolean>): Promise<PaymentOutcome | undefined>
  refund(request: PaymentRequest): Promise<PaymentOutcome>
}

export interface PaymentsOptions {
  url: string
  /** Every call goes through it. */
  breaker: Breaker
  timeoutMs?: number
  tracing?: Tracing
  /** More than this of an answer is not read. */
  maxBodyBytes?: number
}

/** A payment provider over HTTP: `POST /charges` and `POST /refunds` with an `Idempotency-Key`; 201 is done, 402 is declined. */
export function createPayments(options: PaymentsOptions): Payments {
  const { url, breaker, timeoutMs = 5000, tracing = carriedTracing, maxBodyBytes = 65_536 } = options
  const send = (path: string, request: PaymentRequest): Promise<PaymentOutcome> =>
    tracing.span({ name: `POST /${path}`, kind: 'client', traceparent: request.traceparent }, ({ traceparent }) =>
      ask(path, { ...request, traceparent }),
    )
  const ask = async (path: string, request: PaymentRequest): Promise<PaymentOutcome> => {
    const { key, reference, amountCents, currency, requestId, traceparent, signal } = request
    const response = await fetch(new URL(path, url.endsWith('/') ? url : `${url}/`), {
      method: 'POST',
      headers: {
        'Content-Type': 'application/json',
        'Idempotency-Key': key,
        'X-Request-Id': requestId,
        ...(traceparent && { traceparent }),
      },
      body: JSON.stringify({ reference, amountCents, currency }),
      redirect: 'error', // a redirected POST would be another request, with the same key, to somebody else
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
    })
    const body = await readJson(response, maxBodyBytes)
    if (response.status === 201) return { ...succeeded.parse(body) }
    if (response.status === 402) return { ...declined.parse(body) }
    const problem = `the payment provider answered ${response.status}`
    // The request itself is wrong, and will be at the next try: somebody has to look.
    if (response.status === 400 || response.status === 422) throw new PermanentFailure(problem)
    throw new Error(problem)
  }
  return {
    charge: (request, begin) => breaker.run(async () => ((await begin()) ? send('charges', request) : undefined)),
    refund: (request) => breaker.run(() => send('refunds', request)),
  }
}

/** For the breaker: neither a request that is wrong nor a database that is away says anything about the provider. */
export const isProvidersFailure = (error: Error) => !(error instanceof PermanentFailure || error instanceof AppError)

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
