import type { Response } from 'express'
import { kitErrors } from '../errors/errors.ts'

export interface PlacesOptions {
  /** Of this process. */
  most: number
  /** For all replicas together. */
  mostPerClient: number
  /** Live replicas, as last known. */
  share: () => number
  /** What has a place, in the plural, for the errors. */
  what: string
}

export interface Places {
  /** Takes a place until the response is closed. Throws `E_OVERLOADED` or `E_TOO_MANY_CONNECTIONS` when there is none. */
  take(client: string, res: Response): void
  /** Whether this client has more places here than it may have, because replicas were added since it took them. */
  isOver(client: string): boolean
}

/** What a replica allows one client, in percent of an even share of what all of them allow: requests never spread evenly. */
const sharePercent = 130
/** Places that a replica allows each client, however many replicas there are. */
const leastPerClient = 4

/** Returns how many places of one client a replica allows when all replicas together shall allow about `mostPerClient`. */
export function placesShare(mostPerClient: number, replicas: number): number {
  return Math.min(mostPerClient, Math.max(leastPerClient, Math.ceil((mostPerClient * sharePercent) / 100 / replicas)))
}

/** Bounds responses that stay open for long, in this process and for each client, from before anything is done for them. */
export function createPlaces({ most, mostPerClient, share, what }: PlacesOptions): Places {
  const clients = new Map<string, number>()
  let taken = 0
  const of = (client: string) => clients.get(client) ?? 0
  const allowed = () => placesShare(mostPerClient, share())
  const retryAfterMs = () => 3000 + Math.random() * 5000
  const release = (client: string) => {
    taken--
    if (of(client) > 1) clients.set(client, of(client) - 1)
    else clients.delete(client)
  }
  return {
    take(client, res) {
      if (res.closed) return // the client has left already
      if (taken >= most) throw kitErrors.E_OVERLOADED({ retryAfterMs: retryAfterMs(), reason: what })
      if (of(client) >= allowed()) {
        const detail = `at most ${mostPerClient} ${what} at once`
        throw kitErrors.E_TOO_MANY_CONNECTIONS({ detail, retryAfterMs: retryAfterMs() })
      }
      taken++
      clients.set(client, of(client) + 1)
      res.once('close', () => release(client))
    },
    isOver: (client) => of(client) > allowed(),
  }
}
