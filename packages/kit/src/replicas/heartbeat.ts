import { setTimeout as wait } from 'node:timers/promises'
import type { Logger } from '../log/log.ts'
import type { Connections } from '../postgres/connections.ts'
import type { Place } from './place.ts'

export interface HeartbeatOptions {
  place: Pick<Place, 'renew' | 'reason'>
  connections: Connections
  heartbeatMs: number
  log: Logger
  signal: AbortSignal
}

export const retryMs = 250

/** Renews the place until `signal` says that it is over: more often while something is wrong. */
export async function beatForEver({ place, connections, heartbeatMs, log, signal }: HeartbeatOptions): Promise<void> {
  /**
   * Until the next heartbeat is due: soon while something is wrong, and at once after connections were given up. Early enough for
   * the answer, too, to be there within `heartbeatMs`, and at random, so that processes that began together do not beat together.
   */
  const pause = async (failed: boolean) => {
    const isWell = !failed && connections.problem() === undefined
    const ms = isWell ? heartbeatMs * (0.8 + Math.random() * 0.1) : Math.min(heartbeatMs, retryMs * (1 + Math.random()))
    const woken = new AbortController()
    const stopHearing = connections.onRetire(() => place.reason() === undefined && woken.abort())
    await wait(ms, undefined, { signal: AbortSignal.any([signal, woken.signal]) }).catch(() => undefined)
    stopHearing()
  }

  for (let failed = false; !signal.aborted; ) {
    await pause(failed)
    if (signal.aborted) return
    try {
      await place.renew()
      if (failed) log.info('heartbeat recovered')
      failed = false
    } catch (err) {
      // If the database is unreachable, keep the last known replica count.
      if (!failed) log.warn({ err }, 'heartbeat failed')
      failed = true
    }
  }
}
