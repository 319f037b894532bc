import { setTimeout as wait } from 'node:timers/promises'
import type { JobQueue } from '../jobs/jobs.ts'
import type { Logger } from '../log/log.ts'
import type { Listener } from '../postgres/listen.ts'
import type { Postgres } from '../postgres/postgres.ts'
import type { Relay } from './outbox.ts'

export interface RelayOptions {
  postgres: Postgres
  /** Must fail rather than wait while it is away: rows are locked meanwhile. */
  queue: Pick<JobQueue, 'add'>
  log: Logger
  /** Longest time that a message waits for when the hint was lost. */
  pollMs?: number
  batch?: number
  /** Builds what calls `wake` when there is something new: a hint, so that most messages need not wait for the poll. */
  listen?(wake: () => void): Listener
}

interface Row {
  id: string
  type: string
  payload: unknown
  request_id: string | null
  traceparent: string | null
}

// Only the oldest unpublished message of an aggregate can be taken: a second relay cannot overtake the first with the next one.
// Rows that another relay holds are skipped, so relays share the work. One that is paused in the middle keeps its rows until the
// server ends its transaction (see `limits` of `migrate`).
const take = {
  name: 'outbox-take',
  text: `SELECT id, type, payload, request_id, traceparent FROM outbox AS message
    WHERE published_at IS NULL AND NOT EXISTS (
      SELECT FROM outbox AS older
      WHERE older.aggregate = message.aggregate AND older.published_at IS NULL AND older.position < message.position)
    ORDER BY position LIMIT $1 FOR UPDATE SKIP LOCKED`,
}
const mark = { name: 'outbox-mark', text: 'UPDATE outbox SET published_at = now() WHERE id = ANY ($1::uuid[])' }
const waiting = {
  name: 'outbox-waiting',
  text: `SELECT count(*)::int AS waiting, coalesce(extract(epoch FROM now() - min(created_at)) * 1000, 0)::int AS "oldestMs"
    FROM outbox WHERE published_at IS NULL`,
}

/**
 * Publishes what transactions left in the outbox; any number of relays may run. Marks a message after the queue has taken it,
 * so a crash between the two publishes it again, under the same job id: the queue drops the copy.
 * While Postgres or the queue is away it goes on trying, and nothing is lost.
 */
export function createRelay(options: RelayOptions): Relay {
  const { postgres, queue, log, pollMs = 500, batch = 100 } = options
  const stopping = new AbortController()
  let running: Promise<void> | undefined
  let awake = false
  let wakeUp = () => {}
  const wake = () => {
    awake = true
    wakeUp()
  }
  const listener = options.listen?.(wake)

  const publishBatch = () =>
    postgres.transaction(async (tx) => {
      const { rows } = await tx.query<Row>(take, [batch])
      const outcomes = await Promise.allSettled(rows.map((row) => queue.add(toJob(row))))
      const published = rows.filter((_, at) => outcomes[at]?.status === 'fulfilled').map(({ id }) => id)
      if (published.length > 0) await tx.query(mark, [published])
      const failure = outcomes.find((outcome) => outcome.status === 'rejected')
      return { published: published.length, failure: failure?.reason as unknown }
    })

  /** Until the next poll, or the next hint; after a failure hints do not count, since each would be another failure. */
  const sleep = async (untilHint: boolean) => {
    if (!awake || !untilHint) {
      const hint = new AbortController()
      if (untilHint) wakeUp = () => hint.abort()
      const signal = AbortSignal.any([stopping.signal, hint.signal])
      // Jitter, so that relays do not poll in step.
      await wait(pollMs * (0.8 + Math.random() * 0.2), undefined, { signal }).catch(() => undefined)
    }
    awake = false
  }

  const loop = async () => {
    let failing = false
    while (!stopping.signal.aborted) {
      const { published, failure } = await publishBatch().catch((error: unknown) => ({ published: 0, failure: error }))
      if (failure !== undefined && !failing) log.warn({ err: failure }, 'outbox cannot be relayed')
      if (failure === undefined && failing) log.info('outbox is relayed again')
      failing = failure !== undefined
      if (published > 0) log.debug({ published }, 'outbox relayed')
      if (published === 0 || failing) await sleep(!failing)
    }
  }

  return {
    start() {
      listener?.start()
      running ??= loop()
    },
    async stop() {
      stopping.abort()
      await Promise.all([listener?.stop(), running])
    },
    async lag() {
      const { rows } = await postgres.query<{ waiting: number; oldestMs: number }>(waiting)
      return rows[0] ?? { waiting: 0, oldestMs: 0 }
    },
  }
}

const toJob = ({ id, type, payload, request_id, traceparent }: Row) => ({
  id: `${type}-${id}`,
  type,
  payload,
  requestId: request_id ?? undefined,
  traceparent: traceparent ?? undefined,
})
