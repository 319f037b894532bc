import type { ClientAnswer } from '@escala/testing/client'

/** One order that a client intended, under one idempotency key, and all responses about it. */
export interface MeantOrder {
  key: string
  userId: string
  showId: string
  quantity: number
  /** A request got no response, or one that proves nothing: it may have run, or may still run. */
  unanswered: number
  refused: boolean
  /** The body of the 201. */
  answer?: { id: string; number: number; totalCents: number }
  /** How often its cancelling was asked for, and the responses with 200. */
  cancels: number
  cancelled?: string
}

export interface CartLedger {
  /** The last quantity that was acknowledged. */
  quantity: number
  /** Those that were not: each may have been written before it, or after it. */
  unanswered: Set<number>
}

/** The responses that clients got; at the end, the system is compared with them. */
export interface Ledger {
  orders: MeantOrder[]
  /** Acknowledged accounts. */
  emails: string[]
  /** Show → the newest version that was acknowledged, and its name. */
  shows: Map<string, { version: number; name: string }>
  /** Answers by status and code. */
  statuses: Record<string, number>
  requests: number
  /** Answers that only those get who send too much of something. */
  refusals: Record<string, number>
  /** What must never be answered, whatever goes on. */
  wrongs: Record<string, number>
}

export function createLedger(): Ledger {
  return { orders: [], emails: [], shows: new Map(), statuses: {}, requests: 0, refusals: {}, wrongs: {} }
}

export function count(counts: Record<string, number>, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1
}

export function note(ledger: Ledger, what: string, { status, body, error }: ClientAnswer): void {
  ledger.requests++
  const code = body?.code ?? error
  count(ledger.statuses, status === 0 ? `no answer: ${error}` : `${status}${code ? ` ${code}` : ''}`)
  if (isRefusal(status, code)) count(ledger.refusals, `${what}: ${status} ${code}`)
  if (status === 500) count(ledger.wrongs, `${what}: 500`)
  if (status >= 400 && code === undefined) count(ledger.wrongs, `${what}: ${status} without a code`)
}

function isRefusal(status: number, code: string | undefined): boolean {
  return [408, 413, 414, 429, 431].includes(status) || code === 'E_OVERLOADED'
}

/** Whether an answer leaves open what happened. */
export const isOpen = ({ status }: ClientAnswer) => status === 0 || status >= 500 || status === 429
