import { createInOrder, formatPlace, parsePlace, type State } from './in-order.ts'
import { endToRestart, type Followed, maxReads, type Outlet, type Sequence } from './sequence.ts'

export interface FollowStateOptions extends Followed {
  /** Of every event. */
  type: string
  /** The state now, from its source. It comes first, and again after a gap; `undefined`: there is none. */
  read(): Promise<State | undefined>
  /** The state that a published event carries; `undefined` leaves the event out. */
  state(published: unknown): State | undefined
  /** Reads the state from time to time: repairs a change that was never announced, because its process died. */
  refresh?: { everyMs: number; read(): Promise<State | undefined> }
}

export function followOneState(options: FollowStateOptions, lastId: string | undefined, outlet: Outlet): Sequence {
  const { type, read, state, refresh } = options
  const from = parsePlace(lastId)
  const order = createInOrder({ emit: (data, place) => outlet.send({ id: formatPlace(place), type, data }) })
  let lostUpTo: string | undefined
  let isReading = true
  let timer: NodeJS.Timeout | undefined

  const restart = async () => {
    isReading = true
    try {
      for (let reads = 0; lostUpTo !== undefined && reads < maxReads; reads++) {
        const id = lostUpTo
        lostUpTo = undefined
        const now = await read()
        if (now) order.snapshot(now, id)
      }
    } finally {
      isReading = false
    }
  }
  const reread = async () => {
    const now = await refresh?.read().catch(() => undefined)
    if (now) order.snapshot(now)
  }

  return {
    afterId: from?.eventId,
    take({ id, data }) {
      const shown = state(data)
      if (shown) order.take(id, shown)
    },
    gap(newestId) {
      lostUpTo = newestId
      if (isReading) return
      restart().catch((err) => {
        if (refresh) outlet.log.warn({ err }, 'event stream could not be refreshed')
        else endToRestart(outlet, err)
      })
    },
    async begin(newestId) {
      if (from === undefined) lostUpTo ??= newestId
      if (from && lostUpTo === undefined) order.resume(from)
      await restart()
      if (refresh) timer = setInterval(reread, refresh.everyMs)
    },
    stop() {
      clearInterval(timer)
      order.stop()
    },
  }
}
