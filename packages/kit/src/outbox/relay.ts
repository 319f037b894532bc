import type { Logger } from '../log/log.ts'
import type { Listener } from '../postgres/listen.ts'
import type { Postgres } from '../postgres/postgres.ts'
import type { MessageQueue, Relay } from './outbox.ts'
import { jobId, republishLost } from './republish-lost.ts'
import { firstHeads, type Head, mark, nextHeads, type Row, takeRuns, waiting } from './statements.ts'

export interface RelayOptions {
  postgres: Postgres
  /** Must fail rather than wait while it is unreachable, because rows are locked meanwhile. */
  queue: MessageQueue
  log: Logger
  /** Longest time that a message waits for when the hint was lost. */
  pollMs?: number
  /** Most aggregates at a time; of each so many messages that there are no more than twice as many in one transaction. */
  batch?: number
  /**
   * Time for adding messages before they are marked. Must be far below that for which the server lets a transaction idle
   * (see `limits` of `migrate`): what the server ends would be published again and again and never be marked.
   */
  addsMs?: number
  /** Interval between looks whether the queue still has what was published last. */
  verifyMs?: number
  /** Builds what calls `wake` when there is something new: a hint, so that most messages need not wait for the poll. */
  listen?(wake: () => void): Listener
}

// After something was published.
const soonMs = 50

/**
 * Publishes what transactions left in the outbox; any number of relays may run. Marks a message after the queue has taken it,
 * so a crash between the two publishes it again, under the same job id: the queue drops the copy.
 * While Postgres or the queue is unreachable it goes on trying, and nothing is lost. A queue that comes back without what it had
 * taken gets it again.
 */
export function createRelay(options: RelayOptions): Relay {
  const { postgres, queue, log, pollMs = 1000, batch = 100, addsMs = 500, verifyMs = 5000 } = options
  const stopping = new AbortController()
  let running: Promise<void> | undefined
  let awake = false
  let cursor: string | undefined
  let isApart = false
  let endSleep = (_isHint: boolean) => {}
  const wake = () => {
    awake = true
    endSleep(true)
  }
  const listener = options.listen?.(wake)

  /**
   * Adds jobs of different aggregates together; after a failure each by itself, to see which are refused. Not at once, since a queue that
   * hangs would take its time twice, and rows are locked meanwhile.
   */
  const addEach = async (rows: Row[]): Promise<PromiseSettledResult<void>[]> => {
    const jobs = rows.map(toJob)
    if (isApart || jobs.length === 1) return Promise.allSettled(jobs.map((job) => queue.add(job)))
    const [result] = await Promise.allSettled([queue.addAll(jobs)])
    if (result.status === 'rejected') isApart = true
    return jobs.map(() => result)
  }

  /**
   * The next message of each aggregate, and again, until the time is up: a failure must stop those behind it. Returns the ids of those
   * that the queue has taken.
   */
  const publishRuns = async (runs: Row[][]) => {
    const published: string[] = []
    let failed: { failure: unknown; refused: Row | undefined } | undefined
    const endAt = performance.now() + addsMs
    for (let at = 0, open = runs; open.length > 0 && (at === 0 || performance.now() < endAt); at++) {
      const rows = open.map((run) => run[at] as Row)
      const wasApart = isApart || rows.length === 1
      const results = await addEach(rows)
      for (const [n, result] of results.entries()) {
        if (result.status === 'fulfilled') published.push((rows[n] as Row).id)
        else failed ??= { failure: result.reason, refused: wasApart ? rows[n] : undefined }
      }
      open = open.filter((run, n) => results[n]?.status === 'fulfilled' && run.length > at + 1)
    }
    if (failed === undefined && runs.length > 0) isApart = false
    return { published, ...failed }
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
      const { rows } = await tx.query<Row>(takeRuns, [heads.map(({ id }) => id), 2 * batch])
      const runs = [...Map.groupBy(rows, ({ aggregate }) => aggregate).values()]
      const { published, failure, refused } = await publishRuns(runs)
      // The same page again, each by itself: had others their turn before, they would be added together, and then this page again.
      if (failure !== undefined && refused === undefined) cursor = from
      if (published.length > 0) await tx.query(mark, [published])
      return { published: published.length, isEnd, failure, refused }
    })
  }

  /** Publishes again what the queue has lost. Resolves when it has been looked for, however much that was. */
  const recover = async (deep: boolean) => {
    const republished = await republishLost(postgres, queue, { signal: stopping.signal, deep })
    if (republished > 0) log.warn({ messages: republished }, 'the queue has lost data: messages are published again')
  }

  /**
   * Until the next poll, or the next hint; after a failure hints do not count, since each would be another failure. Polls follow
   * soon on what was published, and ever later: only one of the transactions that commit at the same time sends a hint.
   */
  const sleep = async (untilHint: boolean, quiet: number) => {
    if ((!awake || !untilHint) && !stopping.signal.aborted) {
      const longest = untilHint ? Math.min(pollMs, soonMs * 2 ** quiet) : pollMs
      // Jitter, so that relays do not poll in step.
      const ms = longest * (0.9 + Math.random() * 0.1)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms)
        endSleep = (isHint) => {
          if (isHint && !untilHint) return
          clearTimeout(timer)
          resolve()
        }
      })
    }
    awake = false
  }

  const loop = async () => {
    let failing = false
    let recoverAt = 0
    let deep = true
    let quiet = 0 // polls since something was published
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
        log.warn({ err: failure, messageId: refused?.id, type: refused?.type }, 'cannot relay the outbox')
      if (failure === undefined && failing) {
        log.info('outbox relayed again')
        recoverAt = 0 // the queue may have come back without its data
        deep = true
      }
      failing = failure !== undefined
      published += outcome.published
      if (outcome.published > 0) log.debug({ published: outcome.published }, 'outbox relayed')
      if (!outcome.isEnd && !failing) continue // the cursor has not been round yet
      quiet = published > 0 ? 0 : quiet + 1
      if (published === 0 || failing) await sleep(!failing, quiet - 1)
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
      endSleep(false)
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
