import type { EventPublisher } from '@escala/kit/events/events'
import type { Logger } from '@escala/kit/log/log'
import { z } from 'zod'
import type { Availability } from './shows.ts'

export const channelOf = (showId: string) => `show:${showId}`

const message = z.object({ available: z.int(), revision: z.int() })

/** How an availability looks to those who watch. */
export const toState = ({ available, revision }: Availability) => ({ revision, data: { available } })

/** Parses what `announceAvailability` published, here or in another version of this code. */
export function parseAnnounced(data: unknown) {
  const parsed = message.safeParse(data)
  return parsed.success ? toState(parsed.data) : undefined
}

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
