import { kitErrors } from '../errors/errors.ts'
import type { LiveEvent } from './events.ts'
import { bytesOf, endToRestart, type Followed, maxReads, type Outlet, type Sequence } from './sequence.ts'
import type { StreamMessage } from './sse.ts'

/** What a route shows to a client: the name that `addEventListener` takes, and JSON. */
export interface ShownEvent {
  type: string
  data: unknown
}

export interface FollowOptions extends Followed {
  /**
   * What comes first, and again after a gap: everything up to now, in one event. It is read after the subscription has begun,
   * so events that it already contains may follow it. Without it, a client that missed events gets one of the type `gap`.
   */
  first?(): Promise<ShownEvent | undefined>
  /** How an event looks; `undefined` leaves it out. Default: as it was published. */
  event?(published: LiveEvent): ShownEvent | undefined
}

export function followEvents(
  options: FollowOptions,
  lastId: string | undefined,
  outlet: Outlet,
  maxBytes: number,
): Sequence {
  const { first, event: show = (published) => published } = options
  const afterId = /^\d{1,16}-\d{1,10}$/.exec(lastId ?? '')?.[0]
  const isNew = lastId === undefined
  // Until what comes first was sent. A client that got an event after a gap would otherwise never hear of the gap.
  let held: StreamMessage[] | undefined = []
  let heldBytes = 0
  let lostUpTo: string | undefined

  const lose = (id: string) => {
    held = []
    heldBytes = 0
    lostUpTo = id
  }
  const release = () => {
    for (const message of held ?? []) outlet.send(message)
    held = undefined
    heldBytes = 0
  }
  const restart = async () => {
    for (let reads = 0; reads < maxReads; reads++) {
      const id = lostUpTo
      lostUpTo = undefined
      const shown = await first?.()
      if (lostUpTo !== undefined) continue // events were lost while it was read: it may lack what they said
      const message = shown
        ? { id, type: shown.type, data: shown.data }
        : isNew
          ? { id }
          : { id, type: 'gap', data: null }
      if (bytesOf(message) > maxBytes) throw new RangeError(`what comes first has more than ${maxBytes} bytes`)
      outlet.send(message)
      return release()
    }
    throw kitErrors.E_OVERLOADED({ retryAfterMs: 1000, reason: 'streams' })
  }

  return {
    afterId,
    take(published) {
      const shown = show(published)
      if (shown === undefined) return
      const message = { id: published.id, type: shown.type, data: shown.data }
      if (held === undefined) return outlet.send(message)
      held.push(message)
      heldBytes += bytesOf(message)
      if (heldBytes > maxBytes) lose(published.id)
    },
    gap(newestId) {
      const isOpen = held === undefined
      lose(newestId)
      if (isOpen) restart().catch((err) => endToRestart(outlet, err))
    },
    async begin(newestId) {
      if (afterId === undefined) lostUpTo ??= newestId
      if (lostUpTo === undefined) release()
      else await restart()
    },
    stop() {},
  }
}
