import { kitErrors } from '@escala/kit/errors/errors'
import { type Route, route } from '@escala/kit/http/route'
import type { ApiParts } from '@escala/kit/module'
import { channelOf, parseAnnounced, toState } from '../live.ts'
import { availabilityEvent, idParams } from '../schemas.ts'
import type { ShowReader } from '../show-reader.ts'
import { type Availability, readAvailability } from '../shows.ts'

type Parts = Pick<ApiParts, 'postgres' | 'streams'>

// Repairs what no event reported: one that was lost between a sale and its announcement.
const askAgainMs = 10_000

export function liveRoutes({ postgres, streams }: Parts, shows: ShowReader): Route[] {
  return [
    route({
      method: 'get',
      path: '/v1/shows/:id/live',
      summary: 'The availability, now and after each change: server-sent events of the type `availability`',
      access: 'public',
      params: idParams,
      headers: { 'Last-Event-ID': 'The last event that arrived: what was missed since comes first' },
      responses: { 200: { description: 'Events', schema: availabilityEvent, contentType: 'text/event-stream' } },
      errors: ['E_NOT_FOUND', 'E_REDIS_UNAVAILABLE', 'E_OVERLOADED', 'E_TOO_MANY_CONNECTIONS'],
      handle: ({ params: { id }, req, res }) =>
        streams.followState(
          { req, res },
          {
            topic: channelOf(id),
            type: 'availability',
            async check() {
              if ((await shows.availability(id)) === undefined) throw kitErrors.E_NOT_FOUND()
            },
            read: async () => stateOf(await readAvailability(postgres, id)),
            state: parseAnnounced,
            refresh: { everyMs: askAgainMs, read: async () => stateOf(await shows.availability(id)) },
          },
        ),
    }),
  ]
}

const stateOf = (now: Availability | undefined) => now && toState(now)
