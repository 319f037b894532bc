import { kitErrors } from '@escala/kit/errors/errors'
import { type Route, route } from '@escala/kit/http/route'
import type { ApiParts } from '@escala/kit/module'
import { readLink } from '../links.ts'
import { channelOf } from '../live.ts'
import { clicksEvent, codeParams } from '../schemas.ts'

export function liveRoutes({ postgres, events, streams }: Pick<ApiParts, 'postgres' | 'events' | 'streams'>): Route[] {
  return [
    route({
      method: 'get',
      path: '/v1/links/:code/live',
      summary: 'The clicks, now and after each one: server-sent events of the type `clicks`',
      access: 'user',
      params: codeParams,
      responses: { 200: { description: 'Events', schema: clicksEvent, contentType: 'text/event-stream' } },
      errors: ['E_NOT_FOUND', 'E_REDIS_UNAVAILABLE', 'E_OVERLOADED', 'E_TOO_MANY_CONNECTIONS'],
      async handle({ params: { code }, user, req, res }) {
        const place = streams.reserve(req, res)
        if ((await readLink(postgres, code, user.id)) === undefined) throw kitErrors.E_NOT_FOUND()
        let send = (_: unknown) => {}
        const subscription = await events.subscribe(channelOf(code), { onEvent: ({ data }) => send(data), onGap() {} })
        const now = await readLink(postgres, code, user.id)
        const stream = place.open()
        send = (data) => stream.send({ type: 'clicks', data })
        send({ clicks: now?.clicks ?? 0 })
        stream.closed.addEventListener('abort', subscription.stop)
        return undefined
      },
    }),
  ]
}
