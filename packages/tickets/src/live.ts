import type { EventPublisher, LiveEvent } from '@escala/kit/events/events'
import type { Logger } from '@escala/kit/log/log'
import { z } from 'zod'
import type { Availability } from './shows.ts'

export const channelOf = (showId: string) => `show:${showId}`

const message = z.object({ available: z.int(), revision: z.int() })

/**
 * Publishes the new availability. Await it before responding: otherwise a process that dies in that
 * moment has sold in secret. Never rejects: a sale does not fail with it, and who looks also asks now and then.
 */
export async function announceAvailability(
  events: EventPublisher,
  log: Logger,
  showId: string,
  { available, revision }: Availability,
): Promise<void> {
  try {
    await events.publish(channelOf(showId), { type: 'availability', data: { available, revision } })
  } catch (err) {
    log.warn({ err, showId }, 'availability not announced')
  }
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
  emit(available: number, place: Place): void
  /** How long a revision is waited for before it counts as lost. */
  patienceMs?: number
}

/**
 * Two replicas that sell at the same moment may announce in another order than they sold. Revisions count up by one,
 * so what comes too early is held until what belongs before it is there.
 */
export function createInOrder({ emit, patienceMs = 250 }: InOrderOptions) {
  const early = new Map<number, number>()
  let place: Place | undefined
  let newestId = '0-0'
  let timer: NodeJS.Timeout | undefined

  const flush = () => {
    if (place === undefined) return
    for (let next = place.revision + 1; early.has(next); next++) {
      const available = early.get(next) as number
      early.delete(next)
      // While one is held, the place stays before it: a client that comes back gets it again.
      place = { eventId: early.size === 0 ? newestId : place.eventId, revision: next }
      emit(available, place)
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
    take({ id, data }: LiveEvent) {
      newestId = id
      const parsed = message.safeParse(data)
      if (!parsed.success) return
      const { available, revision } = parsed.data
      if (place && revision <= place.revision) return
      early.set(revision, available)
      flush()
    },
    /** Goes on from where the client was. */
    resume(from: Place) {
      place = from
      for (const revision of early.keys()) if (revision <= from.revision) early.delete(revision)
      flush()
    },
    /** What the source says; `eventId`: an event that it is not older than. Sent on if it is newer. */
    snapshot({ available, revision }: Availability, eventId?: string) {
      if (place && revision <= place.revision) return
      for (const known of early.keys()) if (known <= revision) early.delete(known)
      place = { eventId: eventId ?? place?.eventId ?? newestId, revision }
      emit(available, place)
      flush()
    },
    stop: () => clearTimeout(timer),
  }
}
