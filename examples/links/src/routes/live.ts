import { kitErrors } from '@escala/kit/errors/errors'
import { type Route, route } from '@escala/kit/http/route'
import type { ApiParts } from '@escala/kit/module'
import { readLink } from '../links.ts'
import { topicOf } from '../live.ts'
import { clicksEvent, codeParams } from '../schemas.ts'

/** Clicks only grow, so they are their own revision. */
const toState = ({ clicks }: { clicks: number }) => ({ revision: clicks, data: { clicks } })

export function liveRoutes({ postgres, streams }: Pick<ApiParts, 'postgres' | 'streams'>): Route[] {
  return [
    route({
      method: 'get',
      path: '/v1/links/:code/live',
      summary: 'The clicks, now and after each one: server-sent events of the type `clicks`',
      access: 'user',
      params: codeParams,
      headers: { 'Last-Event-ID': 'The last event that arrived' },
      responses: { 200: { description: 'Events', schema: clicksEvent, contentType: 'text/event-stream' } },
      errors: ['E_NOT_FOUND', 'E_REDIS_UNAVAILABLE', 'E_OVERLOADED', 'E_TOO_MANY_CONNECTIONS'],
      handle: ({ params: { code }, user, req, res }) =>
        streams.followState(
          { req, res },
          {
            topic: topicOf(code),
            type: 'clicks',
            async read() {
              const found = await readLink(postgres, code, user.id)
              if (found === undefined) throw kitErrors.E_NOT_FOUND()
              return toState(found)
            },
            state: (published) => toState(clicksEvent.parse(published)),
          },
        ),
    }),
  ]
}
