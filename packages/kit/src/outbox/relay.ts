import { setTimeout as wait } from 'node:timers/promises'
import type { JobQueue } from '../jobs/jobs.ts'
import type { Logger } from '../log/log.ts'
import type { Listener } from '../postgres/listen.ts'
import type { Postgres } from '../postgres/postgres.ts'
import { jobId, republishLost } from './lost.ts'
import type { Relay } from './outbox.ts'

export interface RelayOptions {
  postgres: Postgres
  /** Must fail rather than wait while it is away: rows are locked meanwhile. */
  queue: Pick<JobQueue, 'add' | 'missing'>
  log: Logger
  /** Longest time that a message waits for when the hint was lost. */
  pollMs?: number
  /** Most aggregates at a time; of each so many messages that there are no more than twice as many in one transaction. */
  batch?: number
  /** Interval between looks whether the queue still has what was published last. */
  verifyMs?: number
  /** Builds what calls `wake` when there is something new: a hint, so that most messages need not wait for the poll. */
  listen?(wake: () => void): Listener
}

interface Head {
  id: string
  aggregate: string
}

interface Row {
  id: string
  aggregate: string
  type: string
  payload: unknown
  request_id: string | null
  traceparent: string | null
}

// The oldest unpublished message of each aggregate behind the cursor: one step down the index for each, however many messages
// an aggregate has. The order of aggregates is arbitrary, so a cursor goes round them: each has its turn.
const heads = (name: string, from: string) => ({
  name,
  text: `WITH RECURSIVE heads AS (
      (SELECT id, aggregate, 1 AS n FROM outbox
        WHERE published_at IS NULL ${from} ORDER BY aggregate, position LIMIT 1)
      UNION ALL
      SELECT following.id, following.aggregate, n + 1 FROM heads, LATERAL (
        SELECT id, aggregate FROM outbox
        WHERE published_at IS NULL AND aggregate > heads.aggregate ORDER BY aggregate, position LIMIT 1
      ) AS following
      WHERE n < $1
    )
    SELECT id, aggregate FROM heads`,
})
const firstHeads = heads('outbox-heads', '')
const nextHeads = heads('outbox-heads-after', 'AND aggregate > $2')

// Whoever holds an aggregate's oldest message may publish those behind it, in their order: a second relay cannot overtake it.
// Rows that another relay holds are skipped, so relays share the work; rows that it has published meanwhile no longer match.
// A relay that is paused in the middle keeps its rows until the server ends its transaction (see `limits` of `migrate`).
const lockHeads = {
  name: 'outbox-lock',
  text: `SELECT id, aggregate FROM outbox WHERE id = ANY ($1::uuid[]) AND published_at IS NULL
    ORDER BY id FOR UPDATE SKIP LOCKED`,
}

const takeRuns = {
  name: 'outbox-take',
  text: `SELECT run.* FROM unnest($1::text[]) AS locked (aggregate), LATERAL (
      SELECT id, outbox.aggregate, type, payload, request_id, traceparent FROM outbox
      WHERE published_at IS NULL AND outbox.aggregate = locked.aggregate ORDER BY position LIMIT $2
    ) AS run`,
}
/** What a relay runs again and again, for a test of its cost. */
export const statements = (aggregate: string) => [
  { text: firstHeads.text, values: [100] },
  { text: nextHeads.text, values: [100, ''] },
  { text: takeRuns.text, values: [[aggregate], 200] },
]

const mark = { name: 'outbox-mark', text: 'UPDATE outbox SET published_at = now() WHERE id = ANY ($1::uuid[])' }
const waiting = {
  name: 'outbox-waiting',
  text: `SELECT count(*)::int AS waiting, coalesce(extract(epoch FROM now() - min(created_at)) * 1000, 0)::int AS "oldestMs"
    FROM outbox WHERE published_at IS NULL`,
}

/**
 * Publishes what transactions left in the outbox; any number of relays may run. Marks a message after the queue has taken it,
 * so a crash between the two publishes it again, under the same job id: the queue drops the copy.
 * While Postgres or the queue is unreachable it goes on trying, and nothing is lost. A queue that comes back without what it had
 * taken gets it again.
 */
export function createRelay(options: RelayOptions): Relay {
  const { postgres, queue, log, pollMs = 500, batch = 100, verifyMs = 5000 } = options
  const stopping = new AbortController()
  let running: Promise<void> | undefined
  let awake = false
  let cursor: string | undefined
  let wakeUp = () => {}
  const wake = () => {
    awake = true
    wakeUp()
  }
  const listener = options.listen?.(wake)

  /** One after the other, since a failure must stop those behind it; returns the ids of those that the queue has taken. */
  const publishRun = async (rows: Row[]) => {
    const published: string[] = []
    try {
      for (const row of rows) {
        await queue.add(toJob(row))
        published.push(row.id)
      }
      return { published }
    } catch (failure) {
      return { published, failure, refused: rows[published.length] }
    }
  }

  const publishBatch = async () => {
    const from = cursor
    const { rows: heads } =
      from === undefined
        ? await postgres.query<Head>(firstHeads, [batch])
        : await postgres.query<Head>(nextHeads, [batch, from])
    const isEnd = heads.length < batch
    cursor = isEnd ? undefined : heads.at(-1)?.aggregate
    if (heads.length === 0) return { published: 0, isEnd: from === undefined }
    return postgres.transaction(async (tx) => {
      const { rows: locked } = await tx.query<Head>(lockHeads, [heads.map(({ id }) => id)])
      if (locked.length === 0) return { published: 0, isEnd }
      const runLength = Math.max(1, Math.floor((2 * batch) / locked.length))
      const { rows } = await tx.query<Row>(takeRuns, [locked.map(({ aggregate }) => aggregate), runLength])
      const outcomes = await Promise.all([...Map.groupBy(rows, ({ aggregate }) => aggregate).values()].map(publishRun))
      const published = outcomes.flatMap((outcome) => outcome.published)
      if (published.length > 0) await tx.query(mark, [published])
      const failed = outcomes.find(({ failure }) => failure !== undefined)
      return { published: published.length, isEnd, failure: failed?.failure, refused: failed?.refused }
    })
  }

  /** Publishes again what the queue has lost. Resolves when it has been looked for, however much that was. */
  const recover = async (deep: boolean) => {
    const republished = await republishLost(postgres, queue, { signal: stopping.signal, deep })
    if (republished > 0) log.warn({ messages: republished }, 'the queue has lost data: messages are published again')
  }

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
    let recoverAt = 0
    let deep = true
    for (let published = 0; !stopping.signal.aborted; ) {
      const outcome = await (async () => {
        if (performance.now() >= recoverAt) {
          await recover(deep)
          deep = false
          recoverAt = performance.now() + verifyMs * (0.8 + Math.random() * 0.4)
        }
        return publishBatch()
      })().catch((failure: unknown) => ({ published: 0, isEnd: true, failure }))
      const { failure, refused } = { failure: undefined, refused: undefined, ...outcome }
      if (failure !== undefined && !failing)
        log.warn({ err: failure, messageId: refused?.id, type: refused?.type }, 'outbox cannot be relayed')
      if (failure === undefined && failing) {
        log.info('outbox is relayed again')
        recoverAt = 0 // the queue may have come back without its data
        deep = true
      }
      failing = failure !== undefined
      published += outcome.published
      if (outcome.published > 0) log.debug({ published: outcome.published }, 'outbox relayed')
      if (!outcome.isEnd && !failing) continue // the cursor has not been round yet
      if (published === 0 || failing) await sleep(!failing)
      published = 0
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

const toJob = ({ id, aggregate, type, payload, request_id, traceparent }: Row) => ({
  id: jobId(type, id),
  type,
  payload,
  aggregate,
  requestId: request_id ?? undefined,
  traceparent: traceparent ?? undefined,
})
