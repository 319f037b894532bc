import { hasCode } from '@escala/kit/errors/app-error'
import type { IdempotentRequest, StatementOutcome } from '@escala/kit/idempotency/idempotency'
import type { Logger } from '@escala/kit/log/log'
import type { ApiParts } from '@escala/kit/module'
import { sqlState } from '@escala/kit/postgres/failures'
import { coalesce } from './coalesce.ts'
import { ticketErrors } from './errors.ts'
import { announceAvailability } from './live.ts'
import { placeOrders } from './order-batch.ts'
import { type NewOrder, placeOrder, whyRefused } from './orders.ts'
import { type Availability, readAvailability } from './shows.ts'

type Parts = Pick<ApiParts, 'postgres' | 'idempotency' | 'outbox' | 'events'>

export interface AskedOrder {
  request: IdempotentRequest
  order: Omit<NewOrder, 'isOpen'>
  log: Logger
  /** Whether tickets are being sold at all; asked when the order is placed, for which it may have had to wait. */
  isOpen(): boolean
  /** Aborted when the response is no longer awaited. */
  deadline: AbortSignal
}

type Outcome = StatementOutcome<Availability>

/** What a statement made of an order: `undefined` is a refusal. `news`: what the statement, or the batch, has left. */
interface Placed {
  outcome: Outcome | undefined
  /** As it was sent, when it was sent by itself. */
  alone?: NewOrder
  /** Resolves to what is available now, once that has been announced if it has changed. Asked once for a batch. */
  news(): Promise<Availability | undefined>
}

// Behind an order that does not fit, those are refused that would. After so many tries each goes alone.
const maxBatches = 3

/**
 * Where a replica's orders are placed. A lone order is a statement of its own; those that arrive while it is under way go
 * together, since the show's row, which every order needs, is locked once for all of them. Each keeps its own key, answer
 * and outbox message. Sales are announced before they are answered.
 *
 * `place` throws why an order was refused (`E_SOLD_OUT`, `E_NOT_FOUND`, `E_SALES_CLOSED`, `E_TICKET_LIMIT`), and what is wrong with its key.
 */
export function createOrderDesk({ postgres, idempotency, outbox, events }: Parts) {
  const { runBatch } = idempotency
  const toOrder = ({ order, isOpen }: AskedOrder): NewOrder => ({ ...order, isOpen: isOpen() })

  const news = ({ order, log }: AskedOrder, outcomes: Outcome[]) =>
    once(async () => {
      const placed = outcomes.find((outcome) => !outcome.replayed)
      const now = placed ? placed.row : await readAvailability(postgres, order.showId)
      // After a replay too: a retry may mean that the first replica died before it announced the sale.
      if (now && outcomes.length > 0) await announceAvailability(events, log, order.showId, now)
      return now
    })

  const alone = async (asked: AskedOrder): Promise<Placed> => {
    const order = toOrder(asked)
    const outcome = await idempotency.runStatement<Availability>(asked.request, placeOrder(order, outbox))
    return { outcome, alone: order, news: news(asked, outcome ? [outcome] : []) }
  }

  const together = async (asked: AskedOrder[]): Promise<PromiseSettledResult<Placed>[]> => {
    const [first] = asked
    // One flag applies to all of them. If sales are closed, each is refused by itself.
    if (!runBatch || !first?.isOpen()) return oneByOne(asked)
    const requests = asked.map(({ request }) => request)
    const batch = placeOrders(asked.map(toOrder), outbox)
    const outcomes = await runBatch<Availability>(requests, batch).catch((error) => {
      // What Postgres says about one order of the batch, it says of the whole.
      if (sqlState(error) === undefined) throw error
      return undefined
    })
    if (outcomes === undefined) return oneByOne(asked)
    const done = outcomes.flatMap((one) => (one.status === 'fulfilled' && one.value ? [one.value] : []))
    const shared = news(first, done)
    return outcomes.map((one) =>
      one.status === 'rejected' ? one : { status: 'fulfilled', value: { outcome: one.value, news: shared } },
    )
  }

  /** Not all at once: they would take every connection, and wait for each other. After an outage the rest is not tried. */
  const oneByOne = async (asked: AskedOrder[]): Promise<PromiseSettledResult<Placed>[]> => {
    const settled: PromiseSettledResult<Placed>[] = []
    for (const one of asked) {
      const last = settled.at(-1)
      const isOver = last?.status === 'rejected' && isOutage(last.reason)
      const [outcome] = isOver ? [last] : await Promise.allSettled([alone(one)])
      if (outcome) settled.push(outcome)
    }
    return settled
  }

  const coalesced = coalesce<AskedOrder, Placed>({
    lane: ({ order }) => order.showId,
    identity: ({ request }) => JSON.stringify([request.owner, request.key]),
    signal: ({ deadline }) => deadline,
    alone,
    together,
    isOutage,
  })

  return {
    async place(asked: AskedOrder): Promise<Outcome> {
      // A limit for each buyer locks the buyer first; an order that waits for that lock must not hold up a batch.
      const mayWait = runBatch !== undefined && asked.order.maxPerBuyer === 0
      for (let tries = 1; ; tries++) {
        const placed = await (mayWait && tries <= maxBatches ? coalesced(asked) : alone(asked))
        const { outcome, news } = placed
        if (outcome) {
          await news().catch((err) => asked.log.warn({ err }, 'availability could not be read'))
          return outcome
        }
        // The order as it was sent: sales may have been opened or closed since.
        if (placed.alone) throw await whyRefused(postgres, placed.alone)
        const now = await news()
        if (now === undefined) throw await whyRefused(postgres, toOrder(asked))
        if (asked.order.quantity > now.available) throw ticketErrors.E_SOLD_OUT()
      }
    },
  }
}

const isOutage = (error: unknown) => hasCode(error, 'E_POSTGRES_UNAVAILABLE')

function once<T>(work: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined
  return () => {
    running ??= work()
    return running
  }
}
