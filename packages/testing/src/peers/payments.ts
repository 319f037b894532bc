import { randomUUID } from 'node:crypto'
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'
import { answer, type Listening, type ListenOptions, listen, readJson } from './control.ts'

export interface Payment {
  id: string
  key: string
  reference: string
  amountCents: number
  currency: string
  status: 'succeeded' | 'declined'
  /** The charge that a refund gives back, by its id. */
  charge?: string
  /** How often it was asked for under this key; it was done once. */
  attempts: number
  /** What the request that made it carried. */
  requestId?: string
  traceparent?: string
}

/** What `GET /_seen` answers: how much money moved, and how many attempts there were. */
export interface PaymentsSeen {
  charges: Payment[]
  refunds: Payment[]
  /** Requests of any kind, also those that failed. */
  requests: number
  /** Charges that got a status of `refusals`. */
  refused: number
}

export interface PaymentsBehaviour {
  /** Between the effect and the response; before the response to a question. */
  latencyMs: number
  /** The next so many requests answer 500 and have no effect. */
  failures: number
  /** The next so many requests have their effect, and the connection is cut instead of an answer. */
  lostAnswers: number
  /** The next so many new charges are declined. Amounts that end in 13 cents are always declined. */
  declines: number
  /** Charges of these amounts answer 500, each time, and have no effect. */
  brokenAmounts: number[]
  /** Charges of these amounts get this status, each time, and have no effect: `{ 4200: 422 }`. */
  refusals: Record<number, number>
  /** Requests are taken and never answered; they have no effect. */
  hang: boolean
  /** Requests of any kind answer 404 and have no effect, as if the address led to another server. */
  isElsewhere: boolean
}

const usual: PaymentsBehaviour = {
  latencyMs: 0,
  failures: 0,
  lostAnswers: 0,
  declines: 0,
  brokenAmounts: [],
  refusals: {},
  hang: false,
  isElsewhere: false,
}

/**
 * Starts a fake payment provider that speaks HTTP: `POST /charges` and `POST /refunds` with an `Idempotency-Key`, `GET /charges/:key`.
 * One key has one effect, whatever the number of attempts, and is good for either a charge or a refund. A refund names its charge
 * and gives back no more than was charged. Everything is kept in memory.
 */
export function startPayments(options: ListenOptions = {}): Promise<Listening> {
  const payments = { charges: new Map<string, Payment>(), refunds: new Map<string, Payment>() }
  let behaviour = usual
  let requests = 0
  let refused = 0

  const control = async (req: IncomingMessage, res: ServerResponse) => {
    if (req.url === '/livez') return answer(res, 200, { status: 'ok' })
    if (req.url === '/_seen') {
      return answer(res, 200, {
        charges: [...payments.charges.values()],
        refunds: [...payments.refunds.values()],
        requests,
        refused,
      })
    }
    if (req.url === '/_behaviour' && req.method === 'PUT') {
      behaviour = { ...usual, ...(await readJson(req)) }
      return answer(res, 200, behaviour)
    }
    answer(res, 404, { error: 'no such route' })
  }

  const serve = async (req: IncomingMessage, res: ServerResponse) => {
    const [, kind, key] = /^\/(charges|refunds)(?:\/([^/]+))?$/.exec(req.url ?? '') ?? []
    if (kind !== 'charges' && kind !== 'refunds') return control(req, res)
    requests++
    const body = req.method === 'POST' ? await readJson(req) : undefined
    if (behaviour.hang) return
    if (behaviour.isElsewhere) return answer(res, 404, { error: 'no such route' })
    if (behaviour.failures > 0) {
      behaviour = { ...behaviour, failures: behaviour.failures - 1 }
      return answer(res, 500, { error: 'try again later' })
    }
    if (key) {
      if (behaviour.latencyMs > 0) await wait(behaviour.latencyMs)
      const payment = payments[kind].get(decodeURIComponent(key))
      return payment ? answer(res, 200, payment) : answer(res, 404, { error: 'never seen' })
    }
    if (behaviour.brokenAmounts.includes(Number(body?.amountCents))) return answer(res, 500, { error: 'a bug of ours' })
    const refusal = behaviour.refusals[Number(body?.amountCents)]
    if (refusal !== undefined) {
      refused++
      return answer(res, refusal, { error: 'refused' })
    }
    const { status, payment, error } = accept(kind, req.headers, body)
    if (behaviour.latencyMs > 0) await wait(behaviour.latencyMs)
    if (behaviour.lostAnswers > 0) {
      behaviour = { ...behaviour, lostAnswers: behaviour.lostAnswers - 1 }
      return req.socket.destroy()
    }
    answer(res, status, payment ? { id: payment.id, status: payment.status } : { error })
  }

  const accept = (kind: 'charges' | 'refunds', headers: IncomingHttpHeaders, body?: Record<string, unknown>) => {
    const key = headers['idempotency-key']
    const { charge, reference, amountCents, currency } = body ?? {}
    if (typeof key !== 'string') return { status: 400, error: 'Idempotency-Key is missing' }
    if (typeof reference !== 'string' || typeof amountCents !== 'number' || typeof currency !== 'string') {
      return { status: 400, error: 'reference, amountCents and currency are required' }
    }
    if (kind === 'refunds' && typeof charge !== 'string') return { status: 400, error: 'charge is required' }
    const before = payments.charges.get(key) ?? payments.refunds.get(key)
    if (before) {
      const same =
        payments[kind].get(key) === before &&
        before.charge === (kind === 'refunds' ? charge : undefined) &&
        before.reference === reference &&
        before.amountCents === amountCents &&
        before.currency === currency
      if (!same) return { status: 422, error: 'this key was used for something else' }
      before.attempts++
      return { status: before.status === 'declined' ? 402 : 201, payment: before }
    }
    if (kind === 'refunds') {
      const problem = whyNotRefundable(charge as string, amountCents, currency)
      if (problem !== undefined) return { status: 422, error: problem }
    }
    const declined = kind === 'charges' && (amountCents % 100 === 13 || behaviour.declines > 0)
    if (declined && behaviour.declines > 0) behaviour = { ...behaviour, declines: behaviour.declines - 1 }
    const status = declined ? 'declined' : 'succeeded'
    const [requestId, traceparent] = [headers['x-request-id']?.toString(), headers.traceparent?.toString()]
    const id = randomUUID()
    const payment = { id, key, reference, amountCents, currency, status, attempts: 1, requestId, traceparent } as const
    payments[kind].set(key, { ...payment, ...(kind === 'refunds' && { charge: charge as string }) })
    return { status: declined ? 402 : 201, payment }
  }

  const whyNotRefundable = (charge: string, amountCents: number, currency: string): string | undefined => {
    const charged = [...payments.charges.values()].find(({ id, status }) => id === charge && status === 'succeeded')
    if (!charged) return 'there is no such charge'
    if (charged.currency !== currency) return 'the charge has another currency'
    const refunded = [...payments.refunds.values()].filter((refund) => refund.charge === charge)
    const total = refunded.reduce((sum, refund) => sum + refund.amountCents, amountCents)
    return total > charged.amountCents ? 'more than was charged' : undefined
  }

  return listen((req, res) => void serve(req, res).catch(() => res.destroy()), options)
}

export interface PaymentsControl {
  url: string
  seen(): Promise<PaymentsSeen>
  /** What is left out goes back to normal. */
  behave(behaviour: Partial<PaymentsBehaviour>): Promise<void>
}

/** Queries and controls a fake provider, wherever it runs. */
export function paymentsControl(url: string): PaymentsControl {
  return {
    url,
    async seen() {
      return (await (await fetch(`${url}/_seen`)).json()) as PaymentsSeen
    },
    async behave(behaviour) {
      await fetch(`${url}/_behaviour`, { method: 'PUT', body: JSON.stringify(behaviour) })
    },
  }
}
