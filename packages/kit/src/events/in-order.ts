/** Something as it was at one moment. Its source counts the revision up by one with each change, under a lock. */
export interface State {
  revision: number
  data: unknown
}

/** Where a client was: the event up to which it has everything, and the revision that it saw last. */
export interface Place {
  eventId: string
  revision: number
}

/** Parses a `Last-Event-ID`; `undefined` if it is not one of ours. */
export function parsePlace(header: string | undefined): Place | undefined {
  const [, eventId, revision] = /^(\d{1,16}-\d{1,10})\.(\d{1,10})$/.exec(header ?? '') ?? []
  return eventId === undefined ? undefined : { eventId, revision: Number(revision) }
}

export const formatPlace = ({ eventId, revision }: Place) => `${eventId}.${revision}`

export interface InOrderOptions {
  emit(data: unknown, place: Place): void
  /** How long a revision is waited for before it counts as lost. */
  patienceMs?: number
  /** States that are held; beyond it the oldest is dropped, since a newer one replaces it. */
  maxHeld?: number
}

/**
 * Two replicas that change the same thing one after the other may announce the changes in another order. Revisions count up by
 * one, so a state that comes too early is held until those before it are there.
 */
export function createInOrder({ emit, patienceMs = 250, maxHeld = 1000 }: InOrderOptions) {
  const early = new Map<number, unknown>()
  let place: Place | undefined
  let newestId = '0-0'
  let timer: NodeJS.Timeout | undefined

  const flush = () => {
    if (place === undefined) return
    for (let next = place.revision + 1; early.has(next); next++) {
      const data = early.get(next)
      early.delete(next)
      // While one is held, the place stays before it: a client that comes back gets it again.
      place = { eventId: early.size === 0 ? newestId : place.eventId, revision: next }
      emit(data, place)
    }
    if (early.size > 0) timer ??= setTimeout(skip, patienceMs)
  }
  const skip = () => {
    timer = undefined
    if (place === undefined || early.size === 0) return
    place = { ...place, revision: Math.min(...early.keys()) - 1 }
    flush()
  }

  return {
    take(eventId: string, { revision, data }: State) {
      newestId = eventId
      if (place && revision <= place.revision) return
      early.set(revision, data)
      if (early.size > maxHeld) early.delete(Math.min(...early.keys()))
      flush()
    },
    /** Goes on from where the client was. */
    resume(from: Place) {
      place = from
      for (const revision of early.keys()) if (revision <= from.revision) early.delete(revision)
      flush()
    },
    /** What the source says; `eventId`: an event that it is not older than. Sent on if it is newer. */
    snapshot({ revision, data }: State, eventId?: string) {
      if (place && revision <= place.revision) return
      for (const known of early.keys()) if (known <= revision) early.delete(known)
      place = { eventId: eventId ?? place?.eventId ?? newestId, revision }
      emit(data, place)
      flush()
    },
    stop: () => clearTimeout(timer),
  }
}
