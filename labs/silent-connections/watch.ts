import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import type { Client } from '@escala/testing/client'
import { order } from '../shop.ts'

export interface Watched {
  accepted: number
  /** From the silence to the end of the last request that failed; all the time that was watched, if the last one did. */
  recoveryMs: number
  /** Requests without any answer when the time was up. */
  unanswered: number
}

export interface WatchOptions {
  client: Client
  show: string
  /** Of `performance.now()`. */
  since: number
  watchMs: number
  /** How long the last request may take. */
  patienceMs: number
}

/** Orders one ticket after the other, as an app does that repeats what failed under the same key. */
export async function watchOrders({ client, show, since, watchMs, patienceMs }: WatchOptions): Promise<Watched> {
  const end = since + watchMs
  const seen = { accepted: 0, recoveryMs: 0, unanswered: 0 }
  for (let key = randomUUID(); performance.now() < end; ) {
    const late = wait(end + patienceMs - performance.now(), undefined, { ref: false })
    const answer = await Promise.race([order(client, show, key), late])
    if (answer?.status === 201) {
      seen.accepted++
      key = randomUUID()
    } else {
      seen.recoveryMs = Math.min(performance.now() - since, watchMs)
      if (answer === undefined) seen.unanswered++
    }
    await wait(100)
  }
  return seen
}
