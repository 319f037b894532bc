import type { Response } from 'express'
import { kitErrors } from '../errors/errors.ts'

export interface StreamPlacesOptions {
  maxStreams: number
  maxStreamsPerClient: number
  /** Live replicas, as last known. */
  share: () => number
  retryAfterMs: () => number
}

/** What a replica allows one client, in percent of an even share of what all of them allow: streams never spread evenly. */
const sharePercent = 130
/** Streams that a replica allows each client, however many replicas there are. */
const leastPerClient = 4

/** Returns how many streams of one client a replica allows when all replicas together shall allow about `maxPerClient`. */
export function streamShare(maxPerClient: number, replicas: number): number {
  return Math.min(maxPerClient, Math.max(leastPerClient, Math.ceil((maxPerClient * sharePercent) / 100 / replicas)))
}

/** Counts the streams of a process, those included that are still being prepared. */
export function createStreamPlaces({ maxStreams, maxStreamsPerClient, share, retryAfterMs }: StreamPlacesOptions) {
  const clients = new Map<string, number>()
  let taken = 0
  const of = (client: string) => clients.get(client) ?? 0
  const allowed = () => streamShare(maxStreamsPerClient, share())
  const release = (client: string) => {
    taken--
    if (of(client) > 1) clients.set(client, of(client) - 1)
    else clients.delete(client)
  }
  return {
    /** Takes a place until the response is closed. Throws `E_OVERLOADED` or `E_TOO_MANY_CONNECTIONS` when there is none. */
    take(client: string, res: Response): void {
      if (res.closed) return // the client has left already
      if (taken >= maxStreams) throw kitErrors.E_OVERLOADED({ retryAfterMs: retryAfterMs() })
      if (of(client) >= allowed()) {
        const detail = `at most ${maxStreamsPerClient} streams at once`
        throw kitErrors.E_TOO_MANY_CONNECTIONS({ detail, retryAfterMs: retryAfterMs() })
      }
      taken++
      clients.set(client, of(client) + 1)
      res.once('close', () => release(client))
    },
    /** Whether this client has more streams here than it may have, because replicas were added since they were opened. */
    isOver: (client: string) => of(client) > allowed(),
  }
}
